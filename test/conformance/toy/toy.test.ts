import { describe, it } from '@jest/globals';
import { runConformance } from '../index.ts';
import { harness } from './harness.ts';

runConformance(harness, { describe, it });
