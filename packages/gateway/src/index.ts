export { createGateway, type GatewayOptions } from './create-gateway.ts';
export type { Clock, Gateway, Ids } from './gateway.ts';
export { startServer, type RunningServer } from './server.ts';
