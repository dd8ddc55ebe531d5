import { z } from 'zod';
import { budgetStateShape, costShape, countsShape, marginShape, parseUsd, reportedBounds, usd, type Nanos } from '@runpurse/core';
import { BUDGET_SCOPES } from '../config/config.ts';

/** The API's own words on the wire; the shapes of runs and sessions are core's. */

/** An id as callers choose them: any printable text up to 256 characters; as in headers and events, spaces around it don't count. */
export const identifier = z
  .string()
  .trim()
  .min(1)
  .max(256)
  .regex(/^[^\p{Cc}\p{Cs}]*$/u, 'must not hold control characters');

/** A non-negative dollar amount as decimal text, read into nano-dollars. */
export const amount = z
  .string()
  .regex(/^\d{1,12}(\.\d{1,9})?$/, 'must be a dollar amount as text such as "0.50" (up to 9 decimals)')
  .transform((text, context): Nanos => {
    const nanos = parseUsd(text);
    if (nanos !== undefined) return nanos;
    context.addIssue({ code: 'custom', message: 'must be a dollar amount as text such as "0.50"' });
    return z.NEVER;
  });

export const reason = z.string().min(1).max(1000);

/** `limit` of a page. */
export function pageLimit(most: number, standard: number): z.ZodType<number> {
  return z
    .string()
    .regex(/^\d{1,6}$/, `must be a whole number from 1 to ${most}`)
    .transform(Number)
    .refine((count) => count >= 1 && count <= most, `must be a whole number from 1 to ${most}`)
    .default(standard);
}

export const cursor = z.string().min(1).max(512);
/** `next_cursor` of a page of runs; anything else would silently begin at the first page again. */
export const runCursor = cursor.refine(isRunCursor, 'must be the next_cursor of the page before');

function isRunCursor(text: string): boolean {
  try {
    const parts: unknown = JSON.parse(Buffer.from(text, 'base64url').toString());
    return Array.isArray(parts) && parts.length === 2 && typeof parts[0] === 'number' && typeof parts[1] === 'string';
  } catch {
    return false;
  }
}

export const day = z.iso.date();
export const flag = z.enum(['true', 'false']).transform((text) => text === 'true');

/** The OpenAI error envelope; amounts and names stand beside `code`. */
export const errorShape = z
  .object({
    error: z.looseObject({
      message: z.string(),
      type: z.string(),
      param: z.string().nullable(),
      code: z.string(),
      blocked_by: z.string().optional(),
    }),
  })
  .describe('A refusal: what happened, to which id, and what to do. Never invites a blind retry unless `x-should-retry: true`.');

/** Bounds a run sets for itself; they only tighten what the operator set. */
export const boundsInput = reportedBounds.strict();

/** Totals of a workflow, agent, workspace or any other unit of spend. */
export const totalsShape = z.object({
  id: z.string(),
  cost: costShape,
  revenue_usd: usd.nullable(),
  margin: marginShape,
  counts: countsShape.omit({ steps: true }).extend({ runs: z.number().int() }),
});

export const scopeShape = totalsShape.extend({
  scope: z.enum(['workflow', 'agent', 'workspace']),
  workspace_id: z.string(),
  budgets: z.array(budgetStateShape),
});

export const budgetShape = z.object({
  budget_id: z.string(),
  name: z.string(),
  origin: z.enum(['config', 'api', 'run']),
  workspace_id: z.string().nullable().describe('null: every workspace, each with its own counters'),
  scope: z.enum(BUDGET_SCOPES),
  id: z.string(),
  window: z.enum(['lifetime', 'day', 'month']),
  limit_usd: usd,
  action: z.enum(['block', 'alert_only', 'pause']),
  on_exceed: z.enum(['refuse', 'clamp']),
  thresholds: z.array(z.number().int()),
});

export function listOf<Shape extends z.ZodType>(
  shape: Shape,
): z.ZodObject<{ data: z.ZodArray<Shape>; next_cursor: z.ZodNullable<z.ZodString> }> {
  return z.object({ data: z.array(shape), next_cursor: z.string().nullable() });
}
