export { createIngest, type Ingest } from './ingest.ts';
export type { IngestCaller } from './read-events.ts';
export type { IngestResult } from './errors.ts';
