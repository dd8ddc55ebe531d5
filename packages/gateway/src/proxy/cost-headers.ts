import { formatUsd } from '@runpurse/core';
import type { Admission, Reservation, Settled } from '../admit/types.ts';
import { headerSafe } from './respond.ts';

/** What is known of a call's money when its reply begins. */
export function openingHeaders(admission: Admission, reservation: Reservation, audits: readonly string[]): string[] {
  const standing = admission.standing(reservation);
  const headers = ['x-runpurse-request-id', reservation.id, 'x-runpurse-run-id', headerSafe(reservation.subject.runId)];
  headers.push('x-runpurse-policy', audits.length === 0 ? 'allowed' : `audited:${headerSafe(audits.join(','))}`);
  headers.push('x-runpurse-budget-state', standing.state);
  if (standing.runRemaining !== undefined) headers.push('x-runpurse-run-remaining-usd', formatUsd(standing.runRemaining));
  if (standing.sessionRemaining !== undefined) headers.push('x-runpurse-session-remaining-usd', formatUsd(standing.sessionRemaining));
  return headers;
}

/** The figures known only at the end, as `[name, value]` without their `x-runpurse-` prefix. `unknown` where no price is. */
export function closingFigures(admission: Admission, reservation: Reservation, settled: Settled | undefined): [string, string][] {
  const standing = admission.standing(reservation);
  const figures: [string, string][] = [
    ['request-cost-usd', settled?.charged === undefined ? 'unknown' : formatUsd(settled.charged)],
    ['run-cost-usd', formatUsd(standing.runSpent)],
  ];
  if (standing.runRemaining !== undefined) figures.push(['run-remaining-usd', formatUsd(standing.runRemaining)]);
  if (standing.sessionRemaining !== undefined) figures.push(['session-remaining-usd', formatUsd(standing.sessionRemaining)]);
  figures.push(['budget-state', standing.state]);
  return figures;
}

/** All of a plain reply's headers: it is settled before its head is sent. */
export function wholeHeaders(
  admission: Admission,
  reservation: Reservation,
  audits: readonly string[],
  settled: Settled | undefined,
): string[] {
  const headers = ['x-runpurse-request-id', reservation.id, 'x-runpurse-run-id', headerSafe(reservation.subject.runId)];
  headers.push('x-runpurse-policy', audits.length === 0 ? 'allowed' : `audited:${headerSafe(audits.join(','))}`);
  for (const [name, value] of closingFigures(admission, reservation, settled)) headers.push(`x-runpurse-${name}`, value);
  return headers;
}

/** One SSE comment line with the closing figures; clients ignore comments. */
export function closingComment(requestId: string, figures: readonly [string, string][]): string {
  return `: runpurse request-id=${requestId} ${figures.map(([name, value]) => `${name}=${value}`).join(' ')}\n\n`;
}

export const CLOSING_TRAILERS =
  'x-runpurse-request-cost-usd, x-runpurse-run-cost-usd, x-runpurse-run-remaining-usd, x-runpurse-session-remaining-usd, x-runpurse-budget-state';
