import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Scenario } from './scenario.ts';
import type { Stage } from './stage.ts';

/** Headers that speak of us, or of the run: none may reach a provider. */
const OUR_HEADERS = /^(x-)?(alephant|runpurse|helicone)-|^x-litellm-|^x-stainless-helper-/i;

/**
 * What reached whom it must not reach: our headers and virtual key the provider; the scenario's secrets the reports of the
 * adapter and the files of the gateway (stopped by now, so that all is written).
 */
export function findLeaks(stage: Stage, scenario: Scenario): readonly string[] {
  return [
    ...stage.model.calls.flatMap(({ headers }, index) =>
      Object.keys(headers)
        .filter((name) => OUR_HEADERS.test(name))
        .map((name) => `leak: header ${name} reached the provider with call ${index + 1}`),
    ),
    ...stage.model.calls
      .filter(({ headers, body }) => JSON.stringify(headers).includes(stage.env.apiKey) || body.includes(stage.env.apiKey))
      .map(() => 'leak: the virtual key reached the provider'),
    ...scenario.secrets.flatMap((secret) => [
      ...stage
        .reports()
        .filter((report) => report.includes(secret))
        .map(() => `leak: ${secret} is in a report of the adapter`),
      ...filesWith(stage.dataFolder, secret).map((file) => `leak: ${secret} is in the gateway's ${file}`),
    ]),
  ];
}

function filesWith(folder: string, text: string): readonly string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && readFileSync(join(entry.parentPath, entry.name)).includes(text))
    .map((entry) => entry.name);
}
