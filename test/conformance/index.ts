export { MODES, type AdapterHarness, type Mode, type PlayEnv, type PlayOutcome } from './harness.ts';
export { loadScenarios } from './load-scenarios.ts';
export { judge, type Verdict } from './judge.ts';
export { runConformance, type TestRunner } from './run-conformance.ts';
export type { Scenario, ScenarioAgent, ScenarioTool } from './scenario.ts';
export { startGateway, type RunningGateway } from './start-gateway.ts';
