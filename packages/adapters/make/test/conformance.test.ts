import { describe, it } from '@jest/globals';
import { runConformance } from '@runpurse/conformance';
import { harness } from './harness.ts';

runConformance(harness, { describe, it });
