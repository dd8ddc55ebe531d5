export { axiosTransport } from './axios-transport.ts';
export { createClient, type NodeClientOptions } from './create-client.ts';
export { flushOnExit } from './flush-on-exit.ts';
export { nodeIds, nodeTimers } from './node-host.ts';
