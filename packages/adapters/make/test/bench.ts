import { measureAddedTime, type AddedTime, type AddedTimeOptions } from '@runpurse/conformance';
import { loadApp } from './renderer/app.ts';
import { openConnection } from './renderer/play.ts';

/**
 * What the app's modules take, by the renderer: Create a Chat Completion with a Step ID against one request of the same
 * call, and for another app's call the two modules around it. What Make itself adds is not in it. See `measureAddedTime`.
 */
export function benchAdapter(options?: AddedTimeOptions): Promise<AddedTime> {
  return measureAddedTime(
    'make',
    async ({ gatewayUrl, apiKey, carriedUrl, runHeaders, compare }) => {
      const player = await openConnection(loadApp(), { url: gatewayUrl, apiKey }, { verify: false });
      await player.action('startRun', { run_id: 'bench' });
      let count = 0;
      const fresh = (): string => `step-${(count += 1)}`;
      const messages = [{ role: 'user', content: 'hi' }];
      const bare = async (): Promise<void> => {
        const headers = { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json', ...runHeaders };
        const body = JSON.stringify({ model: 'model', max_tokens: 100, messages });
        const response = await fetch(`${carriedUrl}/chat/completions`, { method: 'POST', headers, body });
        await response.text();
      };
      const around = async (ask: string, tell: string, place: Readonly<Record<string, unknown>>, end: object): Promise<void> => {
        const spend = { run_id: `bench-${fresh()}`, spend_id: 'spend', ...place };
        await player.action(ask, spend);
        await player.action(tell, { ...spend, ...end });
      };
      return {
        carriedModelCallMs: await compare(bare, async () => {
          const run_id = `bench-${fresh()}`;
          await player.action('startRun', { run_id });
          await player.action('createChatCompletion', { run_id, step_id: 'call', model: 'model', messages, max_tokens: 100 });
        }),
        directModelCallMs: await compare(
          () => undefined,
          () => around('authorizeModelCall', 'recordModelCall', { model: 'model' }, { prompt_tokens: 10, completion_tokens: 5 }),
        ),
        toolCallMs: await compare(
          () => undefined,
          () => around('authorizeSpend', 'recordToolCost', { tool: 'lookup' }, {}),
        ),
      };
    },
    options,
  );
}

if (import.meta.main) console.log(await benchAdapter());
