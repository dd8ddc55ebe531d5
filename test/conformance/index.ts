export { measureAddedTime, type AddedTime, type AddedTimeOptions, type AddedTimeStage } from './added-time.ts';
export { MODES, type AdapterHarness, type Mode, type PlayEnv, type PlayOutcome } from './harness.ts';
export { loadScenarios } from './load-scenarios.ts';
export { judge, type Verdict } from './judge.ts';
export { outcomeOf, playWithClient, testedVersion } from './play-with-client.ts';
export { runConformance, type TestRunner } from './run-conformance.ts';
export { callsTool, sandboxConfig, SAYS_DONE, type SandboxScript } from './sandbox-config.ts';
export type { Scenario, ScenarioAgent, ScenarioTool } from './scenario.ts';
export { startGateway, type RunningGateway } from './start-gateway.ts';
export { denies, type Denial, type Deny, type EventLog, type SentEvent } from './stub-gateway/events.ts';
export { listingClient, type ListingClient, type ListingOptions } from './stub-gateway/listing-client.ts';
export {
  standingOf,
  startStubGateway,
  type SentCall,
  type StubAnswer,
  type StubGateway,
  type StubGatewayOptions,
} from './stub-gateway/server.ts';
export { startStubModel, type StubModel } from './stub-model/server.ts';
