import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { delimiter, join } from 'node:path';
import { PYTHON, PYTHON_VARIABLES, pythonEnvironment } from '../../packages/adapters/crewai/test/environment.ts';
import { startGatewayProcess } from '../support-agent/gateway-process.ts';

const gateway = await startGatewayProcess(join(import.meta.dirname, 'runpurse.yaml'));
try {
  const crew = spawn(pythonEnvironment(), [join(import.meta.dirname, 'newsroom.py')], {
    stdio: ['ignore', 'inherit', 'ignore'],
    env: {
      ...process.env,
      RUNPURSE_URL: gateway.url,
      RUNPURSE_KEY: gateway.key,
      PYTHONPATH: [join(PYTHON, 'src'), process.env['PYTHONPATH']].filter((path) => path !== undefined).join(delimiter),
      ...PYTHON_VARIABLES,
      CREWAI_DISABLE_TELEMETRY: 'true',
      CREWAI_TRACING_ENABLED: 'false',
    },
  });
  const [code] = (await once(crew, 'exit')) as [number | null];
  process.exitCode = code ?? 1;
} finally {
  await gateway.stop();
}
