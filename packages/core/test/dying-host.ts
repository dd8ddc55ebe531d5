// A host process that reports events and then ends in the way its first argument names. Run by flush-on-exit.test.ts.
import { createClient } from '../src/axios/index.ts';

const [, , way = '', baseUrl = '', count = '3', name = 'work', textMax = 'Infinity'] = process.argv;
const { stringify } = JSON;
// V8 holds no text of more than 512 MB, which no test can wait for: here it holds less.
JSON.stringify = ((...given: Parameters<typeof stringify>) => {
  const text = stringify(...given);
  if (text.length > Number(textMax)) throw new RangeError('Invalid string length');
  return text;
}) as typeof stringify;
const client = createClient({ baseUrl, apiKey: 'vk-test-0123456789abcdef', source: 'toy', flushIntervalMs: 60_000, onProblem: () => {} });
for (let index = 0; index < Number(count); index += 1) client.record({ type: 'step.started', run_id: 'run-1', name, sequence: index });

const WAYS: Readonly<Record<string, () => void>> = {
  'a natural end': () => {},
  'process.exit()': () => process.exit(3),
  'an uncaught error': () => {
    throw new Error('host bug');
  },
  'an unhandled rejection': () => void Promise.reject(new Error('host bug')),
  SIGTERM: () => {
    setInterval(() => {}, 1_000);
    process.kill(process.pid, 'SIGTERM');
  },
  SIGINT: () => {
    setInterval(() => {}, 1_000);
    process.kill(process.pid, 'SIGINT');
  },
  'SIGTERM with a listener of its own': () => {
    let received = 0;
    process.on('SIGTERM', () => {
      received += 1;
      setTimeout(() => process.exit(6 + received), 500);
    });
    setInterval(() => {}, 1_000);
    process.kill(process.pid, 'SIGTERM');
  },
};
WAYS[way]?.();
