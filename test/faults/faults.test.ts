import { describe, expect, it } from '@jest/globals';
import { killUnderLoad } from './crash.ts';
import { exactRoom, randomCosts } from './race.ts';
import { failingWrites, fullStore } from './store-fails.ts';

/** The quick form of `npm run faults`; the seed is in the report that a failure prints. */
const seed = Date.now() % 1_000_000;
const nothing = { lost: [] };

describe('a gateway process', () => {
  it('admits exactly 50 of 200 calls at once on a run with room for 50', async () => {
    expect(await exactRoom({ calls: 200, room: 50 })).toMatchObject(nothing);
  }, 60_000);

  it('never lets settled and held pass a limit, at random costs', async () => {
    expect(await randomCosts({ bursts: 3, calls: 100, seed })).toMatchObject(nothing);
  }, 60_000);

  it('loses no settled spend and leaves no reservation open when killed under load', async () => {
    expect(await killUnderLoad({ kills: 5, seed })).toMatchObject(nothing);
  }, 120_000);

  it('answers 503 and calls no provider when its ledger is full', async () => {
    expect(await fullStore()).toMatchObject(nothing);
  }, 120_000);

  it('answers 503 and calls no provider while its writes fail, and recovers by itself', async () => {
    expect(await failingWrites()).toMatchObject(nothing);
  }, 120_000);
});
