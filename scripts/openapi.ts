// Writes shared/openapi.json from the zod schemas the gateway parses with: `npm run openapi`.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createApi } from '../packages/gateway/src/api/index.ts';
import { createGateway } from '../packages/gateway/src/create-gateway.ts';

const file = join(dirname(dirname(fileURLToPath(import.meta.url))), 'shared', 'openapi.json');
const directory = mkdtempSync(join(tmpdir(), 'runpurse-openapi-'));
const gateway = await createGateway({ directory });
try {
  const response = await createApi(gateway).request('/openapi.json');
  writeFileSync(file, `${JSON.stringify(await response.json(), null, 2)}\n`);
} finally {
  await gateway.close();
  rmSync(directory, { recursive: true });
}
