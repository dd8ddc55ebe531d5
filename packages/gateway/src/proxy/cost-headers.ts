import { formatUsd } from '@runpurse/core';
import type { Admission, Reservation, Settled } from '../admit/types.ts';
import { headerSafe } from './respond.ts';

/** What is known of a call's money when its reply begins. */
export function openingHeaders(admission: Admission, reservation: Reservation, audits: readonly string[]): string[] {
  const standing = admission.standing(reservation);
  const headers = namingHeaders(reservation, audits);
  headers.push('x-runpurse-budget-state', standing.state);
  if (standing.runRemaining !== undefined) headers.push('x-runpurse-run-remaining-usd', formatUsd(standing.runRemaining));
  if (standing.sessionRemaining !== undefined) headers.push('x-runpurse-session-remaining-usd', formatUsd(standing.sessionRemaining));
  return headers;
}

/** The figures known only at the end, in node's flat form. `unknown` where no price is. */
export function closingFigures(admission: Admission, reservation: Reservation, settled: Settled | undefined): string[] {
  const standing = admission.standing(reservation);
  const headers = ['x-runpurse-request-cost-usd', settled?.charged === undefined ? 'unknown' : formatUsd(settled.charged)];
  headers.push('x-runpurse-run-cost-usd', formatUsd(standing.runSpent));
  if (standing.runRemaining !== undefined) headers.push('x-runpurse-run-remaining-usd', formatUsd(standing.runRemaining));
  if (standing.sessionRemaining !== undefined) headers.push('x-runpurse-session-remaining-usd', formatUsd(standing.sessionRemaining));
  headers.push('x-runpurse-budget-state', standing.state);
  return headers;
}

/** All of a plain reply's headers: it is settled before its head is sent. */
export function wholeHeaders(
  admission: Admission,
  reservation: Reservation,
  audits: readonly string[],
  settled: Settled | undefined,
): string[] {
  const headers = namingHeaders(reservation, audits);
  for (const header of closingFigures(admission, reservation, settled)) headers.push(header);
  return headers;
}

function namingHeaders(reservation: Reservation, audits: readonly string[]): string[] {
  const headers = ['x-runpurse-request-id', reservation.id, 'x-runpurse-run-id', headerSafe(reservation.subject.runId)];
  headers.push('x-runpurse-policy', audits.length === 0 ? 'allowed' : `audited:${headerSafe(audits.join(','))}`);
  return headers;
}

const PREFIX = 'x-runpurse-';

/** The closing figures as one SSE comment line; clients ignore comments. */
export function closingComment(requestId: string, figures: readonly string[]): string {
  let line = `: runpurse request-id=${requestId}`;
  for (let index = 0; index < figures.length; index += 2) line += ` ${figures[index]?.slice(PREFIX.length)}=${figures[index + 1]}`;
  return `${line}\n\n`;
}

/** The closing figures as trailers, in pairs. */
export function closingTrailers(figures: readonly string[]): [string, string][] {
  const pairs: [string, string][] = [];
  for (let index = 0; index < figures.length; index += 2) pairs.push([figures[index] ?? '', figures[index + 1] ?? '']);
  return pairs;
}

export const CLOSING_TRAILERS =
  'x-runpurse-request-cost-usd, x-runpurse-run-cost-usd, x-runpurse-run-remaining-usd, x-runpurse-session-remaining-usd, x-runpurse-budget-state';
