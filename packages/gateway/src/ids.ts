import { randomBytes } from 'node:crypto';
import type { Clock, Ids } from './gateway.ts';

const TIME_DIGITS = 9;
const COUNT_DIGITS = 4;
const COUNT_MAX = 36 ** COUNT_DIGITS;

/**
 * Ids that sort by time and are unique across processes: milliseconds, a running number, and what this process drew at
 * its start (80 bits). Made on every call, so without a draw of randomness each time.
 */
export function createIds(clock: Clock): Ids {
  const processPart = randomBytes(10).toString('hex');
  let count = 0;
  let lastTime = -1;
  let timePart = '';
  return {
    next(prefix) {
      const time = clock.now();
      if (time !== lastTime) {
        lastTime = time;
        timePart = time.toString(36).padStart(TIME_DIGITS, '0');
      }
      count = (count + 1) % COUNT_MAX;
      return `${prefix}_${timePart}${count.toString(36).padStart(COUNT_DIGITS, '0')}${processPart}`;
    },
  };
}
