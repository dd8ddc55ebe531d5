import { measureAddedTime, type AddedTime, type AddedTimeOptions } from '@runpurse/conformance';
import { PythonHost } from './python-host.ts';

/** What a model call and a tool call of CrewAI take longer in a run of ours; see `measureAddedTime`. Timed in Python. */
export function benchAdapter({ rounds = 200, warmUp = Math.ceil(rounds / 4) }: AddedTimeOptions = {}): Promise<AddedTime> {
  return measureAddedTime(
    'crewai',
    async ({ gatewayUrl, apiKey, carriedUrl, directUrl, runHeaders }) => {
      const python = new PythonHost();
      const place = { gatewayUrl, apiKey, carriedUrl, directUrl, runHeaders, rounds, warmUp };
      try {
        return (await python.call('added_time', place)) as Omit<AddedTime, 'adapter'>;
      } finally {
        await python.close();
      }
    },
    { rounds, warmUp },
  );
}

if (import.meta.main) console.log(await benchAdapter());
