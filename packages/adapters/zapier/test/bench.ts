import { measureAddedTime, type AddedTime, type AddedTimeOptions } from '@runpurse/conformance';
import type { Bundle, ZObject } from 'zapier-platform-core';
import { openZap } from './zap.ts';

/**
 * What a Zap's steps of ours take, in Zapier's runner: Chat Completion against a step that only posts the same request, and
 * for another app's call the two steps around it. See `measureAddedTime`.
 */
export function benchAdapter(options?: AddedTimeOptions): Promise<AddedTime> {
  return measureAddedTime(
    'zapier',
    async ({ gatewayUrl, apiKey, carriedUrl, runHeaders, compare }) => {
      const zap = openZap({ baseUrl: gatewayUrl, apiKey });
      let count = 0;
      const fresh = (): { run_id: string; call_id: string } => ({ run_id: `bench-${(count += 1)}`, call_id: `call-${count}` });
      const body = { model: 'model', max_tokens: 100, messages: [{ role: 'user', content: 'hi' }] };
      const headers = { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json', ...runHeaders };
      const bare = (z: ZObject, _bundle: Bundle) =>
        z.request(`${carriedUrl}/chat/completions`, { method: 'POST', headers, body: { ...body } });
      const around = async (kind: string, name: string): Promise<void> => {
        const step = { ...fresh(), kind, name };
        await zap.create('authorize_spend', step);
        await zap.create('record_cost', { ...step, input_tokens: 10, output_tokens: 5 });
      };
      return {
        carriedModelCallMs: await compare(
          () => zap.run(bare),
          () => zap.create('chat_completion', { ...fresh(), model: 'model', prompt: 'hi', max_tokens: 100 }),
        ),
        directModelCallMs: await compare(
          () => undefined,
          () => around('model', 'model'),
        ),
        toolCallMs: await compare(
          () => undefined,
          () => around('tool', 'lookup'),
        ),
      };
    },
    options,
  );
}

if (import.meta.main) console.log(await benchAdapter());
