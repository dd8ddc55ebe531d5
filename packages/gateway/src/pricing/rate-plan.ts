import type { RateTier } from './rates.ts';

/** When a plan's prices hold, as the price source states it: from a day on, or daily between two UTC times. */
export type PlanConstraint =
  | { readonly type: 'start_date'; readonly start_date: string }
  | { readonly type: 'time_of_date'; readonly start_time: string; readonly end_time: string };

/** One set of tiers and when it holds; without a constraint it holds whenever no later plan does. */
export interface RatePlan {
  readonly constraint: PlanConstraint | undefined;
  readonly tiers: readonly RateTier[];
}

const DAY_MS = 86_400_000;

/** The plan in force at a moment: the last whose constraint holds, else the first. */
export function planAt(plans: readonly RatePlan[], at: number): RatePlan | undefined {
  return plans.findLast((plan) => holds(plan.constraint, at)) ?? plans[0];
}

/**
 * Every plan that may be in force until a call admitted now is settled, a day at the most: prices change while calls
 * run, and a hold must cover the dearest of them.
 */
export function plansWithinADay(plans: readonly RatePlan[], at: number): readonly RatePlan[] {
  if (plans.length === 1) return plans;
  const byDate = plans.filter((plan) => plan.constraint?.type !== 'time_of_date');
  const possible = new Set<RatePlan>(plans.filter((plan) => plan.constraint?.type === 'time_of_date'));
  for (const moment of [at, at + DAY_MS]) {
    const plan = planAt(byDate, moment);
    if (plan !== undefined) possible.add(plan);
  }
  return [...possible];
}

function holds(constraint: PlanConstraint | undefined, at: number): boolean {
  if (constraint === undefined) return true;
  if (constraint.type === 'start_date') return at >= Date.parse(constraint.start_date);
  const time = at % DAY_MS;
  const from = timeOfDay(constraint.start_time);
  const until = timeOfDay(constraint.end_time);
  return until < from ? time >= from || time < until : time >= from && time < until;
}

/** `00:30:00Z` in milliseconds since midnight UTC. */
function timeOfDay(text: string): number {
  return Date.parse(`1970-01-01T${text.endsWith('Z') ? text : `${text}Z`}`);
}
