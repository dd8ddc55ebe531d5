import { describeStore } from '../conformance.ts';
import { openInDirectory, temporaryDirectory } from './harness.ts';

describeStore({ name: 'sqlite', open: async () => openInDirectory(await temporaryDirectory()) });
