import { beforeAll, describe, it } from '@jest/globals';
import { runConformance } from '@runpurse/conformance';
import { harness, startPython } from './harness.ts';

beforeAll(startPython, 120_000);
runConformance(harness, { describe, it });
