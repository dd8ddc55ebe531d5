import { describe, it } from '@jest/globals';
import { runConformance } from '@runpurse/conformance';
import { harness } from './harness.mts';

runConformance(harness, { describe, it });
