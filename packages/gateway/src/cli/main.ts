#!/usr/bin/env node
import { createProgram } from './program.ts';
import { describeFailure } from './cli-error.ts';

try {
  await createProgram().parseAsync(process.argv);
} catch (failure) {
  const { text, exitCode } = describeFailure(failure);
  process.stderr.write(`runpurse: ${text}\n`);
  process.exitCode = exitCode;
}
