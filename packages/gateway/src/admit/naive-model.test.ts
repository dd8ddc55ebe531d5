import { expect, it } from '@jest/globals';
import { openTestEngine } from './test-engine.ts';
import type { Reservation } from './types.ts';

/**
 * The invariant `settled + held ≤ limit + overage` for every hard budget, and each reservation ends once, checked against
 * a second, naive model: a list of all calls, summed anew at every step. Random sequences with restarts and evictions.
 */
interface NaiveCall {
  readonly runId: string;
  readonly sessionId: string | undefined;
  readonly agentId: string;
  readonly day: number;
  readonly hold: bigint;
  charged: bigint | undefined;
}

const DAY = 86_400_000;
const LIMITS = { run: 1_000n, session: 2_500n, agent: 4_000n, workspaceDay: 6_000n } as const;
const usd = (nanos: bigint): string => `0.${nanos.toString().padStart(9, '0')}`;

/** mulberry32: small, seeded, good enough to draw scenarios. */
function drawsFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

const seeds = [1, 2, 3, Date.now() % 1_000_000_007];

it.each(seeds)(
  'random calls, settlements, restarts and evictions agree with a naive sum at every step (seed %d)',
  async (seed) => {
    const draw = drawsFrom(seed);
    let engine = await openTestEngine({
      budgets: [
        { scope: 'run', limit_usd: usd(LIMITS.run) },
        { scope: 'session', limit_usd: usd(LIMITS.session) },
        { scope: 'agent', limit_usd: usd(LIMITS.agent) },
        { scope: 'workspace', window: 'day', limit_usd: usd(LIMITS.workspaceDay) },
      ],
      store: { idle_run_s: 1 },
    });
    const calls: NaiveCall[] = [];
    let open: { readonly reservation: Reservation; readonly naive: NaiveCall }[] = [];
    const today = (): number => Math.floor(engine.clock.now() / DAY);

    /** The scopes of a call with their limit and all calls they count. */
    const scopesOf = (call: Pick<NaiveCall, 'runId' | 'sessionId' | 'agentId' | 'day'>) => [
      { limit: LIMITS.run, of: calls.filter((other) => other.runId === call.runId) },
      ...(call.sessionId === undefined ? [] : [{ limit: LIMITS.session, of: calls.filter((other) => other.sessionId === call.sessionId) }]),
      { limit: LIMITS.agent, of: calls.filter((other) => other.agentId === call.agentId) },
      { limit: LIMITS.workspaceDay, of: calls.filter((other) => other.day === call.day) },
    ];
    const used = (of: readonly NaiveCall[]): bigint => of.reduce((sum, call) => sum + (call.charged ?? call.hold), 0n);
    const overage = (of: readonly NaiveCall[]): bigint =>
      of.reduce((sum, call) => sum + (call.charged !== undefined && call.charged > call.hold ? call.charged - call.hold : 0n), 0n);

    const admitSome = async (): Promise<void> => {
      const wanted = Array.from({ length: 1 + draw(12) }, () => {
        const run = draw(12);
        return {
          runId: `r${run}`,
          sessionId: run % 4 === 3 ? undefined : `s${run % 4}`,
          agentId: `a${run % 2}`,
          day: today(),
          hold: BigInt(draw(300)),
        };
      });
      const requests = wanted.map((call) =>
        engine.call(call.hold, { subject: { runId: call.runId, sessionId: call.sessionId, agentId: call.agentId } }),
      );
      const results = await Promise.all(requests.map((request) => engine.admission.admit(request)));
      for (const [index, result] of results.entries()) {
        const call = wanted[index];
        if (call === undefined) continue;
        const fits = call.hold === 0n || scopesOf(call).every(({ limit, of }) => used(of) + call.hold <= limit);
        expect({ fits, seed }).toEqual({ fits: result.type === 'admitted', seed });
        if (result.type === 'refused') continue;
        const naive: NaiveCall = { ...call, charged: undefined };
        calls.push(naive);
        open.push({ reservation: result.reservation, naive });
      }
    };

    const settleSome = (): void => {
      open = open.filter(({ reservation, naive }) => {
        if (draw(3) === 0) return true;
        const roll = draw(10);
        const cost = roll === 0 ? undefined : roll === 1 ? naive.hold + BigInt(draw(50)) : BigInt(draw(Number(naive.hold) + 1));
        expect(engine.admission.settle(reservation.id, { status: 'completed', cost })).toBeDefined();
        expect(engine.admission.settle(reservation.id, { status: 'completed', cost: 999n })).toBeUndefined();
        naive.charged = cost ?? naive.hold;
        return false;
      });
    };

    const check = (): void => {
      for (const { runId, sessionId, agentId } of calls) {
        const states = engine.admission.budgetStates({ workspaceId: 'w', keyId: 'k', runId, sessionId, agentId });
        for (const [index, { limit, of }] of scopesOf({ runId, sessionId, agentId, day: today() }).entries()) {
          const state = states[index];
          const settled = of.reduce((sum, call) => sum + (call.charged ?? 0n), 0n);
          expect({ seed, settled: state?.settled, total: (state?.settled ?? 0n) + (state?.held ?? 0n) }).toEqual({
            seed,
            settled,
            total: used(of),
          });
          expect(used(of) <= limit + overage(of)).toBe(true);
        }
      }
    };

    try {
      for (let round = 0; round < 60; round += 1) {
        await admitSome();
        settleSome();
        check();
        const event = draw(12);
        if (event === 0) {
          engine.clock.turn(5_000);
          engine.admission.sweep();
          check();
        } else if (event === 1) {
          engine.clock.turn(DAY);
        } else if (event === 2) {
          engine = await engine.restart();
          for (const { naive } of open) naive.charged = naive.hold;
          open = [];
          check();
        }
      }
    } finally {
      await engine.close();
    }
  },
  60_000,
);
