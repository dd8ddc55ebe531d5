import type { ZObject } from 'zapier-platform-core';
import { EVENT_TEXT_MAX, parseUsd, usableId, type AgentContext, type CallPlace } from '@runpurse/core';

/** What a user filled in or mapped, read strictly: a cap or a run that can't be read must not count as none. */

type Inputs = Readonly<Record<string, unknown>>;

export function invalid(z: ZObject, message: string): Error {
  return new z.errors.Error(message, 'invalid_input', 400);
}

/** A field's text; empty is as if not filled in. Numbers and booleans come from earlier steps; a list of theirs is no text, and not empty. */
export function textOf(z: ZObject, input: Inputs, name: string, label: string): string | undefined {
  const value = input[name] ?? '';
  if (typeof value === 'object')
    throw invalid(z, `${label} must be one value, not a list or a group of fields: map it to a single field of an earlier step.`);
  const text = String(value).trim();
  return text === '' ? undefined : text;
}

/** A field that must not be empty: one that is mapped to an empty value of an earlier step arrives so. */
export function required(z: ZObject, input: Inputs, name: string, label: string): string {
  return filledIn(z, label, textOf(z, input, name, label));
}

/** An id as the gateway knows it, on one line and not longer than a header may be: what was done under it is found again. */
export function idOf(z: ZObject, input: Inputs, name: string, label: string): string | undefined {
  const id = usableId(textOf(z, input, name, label));
  if (id === '.' || id === '..')
    throw invalid(z, `${label} must not be ${JSON.stringify(id)}: the address of a run or session could not hold it.`);
  return id;
}

/** An id that must not be empty: a call of no run would stand under no cap. */
export function requiredId(z: ZObject, input: Inputs, name: string, label: string): string {
  return filledIn(z, label, idOf(z, input, name, label));
}

function filledIn(z: ZObject, label: string, text: string | undefined): string {
  if (text !== undefined) return text;
  throw invalid(z, `${label} is empty. Fill it in, or map it to a field of an earlier step that has a value.`);
}

/** A model's, tool's or run's name. Events hold none that is longer, and one that is lost would leave its call unasked. */
export function nameIfAny(z: ZObject, input: Inputs, label: string): string | undefined {
  const name = textOf(z, input, 'name', label);
  if (name === undefined || name.length <= EVENT_TEXT_MAX) return name;
  throw invalid(z, `${label} must have at most ${EVENT_TEXT_MAX} characters, and has ${name.length}.`);
}

/** The same of a field that must not be empty. */
export function nameOf(z: ZObject, input: Inputs, label: string): string {
  return filledIn(z, label, nameIfAny(z, input, label));
}

/** One of a field's choices, in whatever case. A mapped value may be any text, and one that is none of them must not count as one. */
export function choiceIfAny<Value extends string>(
  z: ZObject,
  input: Inputs,
  name: string,
  label: string,
  values: readonly Value[],
): Value | undefined {
  const text = textOf(z, input, name, label);
  const found = values.find((value) => value === text?.toLowerCase());
  if (text !== undefined && found === undefined) throw invalid(z, `${label} must be ${values.join(' or ')}, not ${JSON.stringify(text)}.`);
  return found;
}

/** The same, and the first of them where it is empty. */
export function choice<Value extends string>(
  z: ZObject,
  input: Inputs,
  name: string,
  label: string,
  values: readonly [Value, ...Value[]],
): Value {
  return choiceIfAny(z, input, name, label, values) ?? values[0];
}

export function kindOf(z: ZObject, input: Inputs): 'tool' | 'model' {
  return choice(z, input, 'kind', 'Kind of Call', ['tool', 'model']);
}

/** Does the Zap go on when a call is refused? */
export function goesOn(z: ZObject, input: Inputs): boolean {
  return choice(z, input, 'on_refusal', 'When Refused', ['halt', 'continue']) === 'continue';
}

/** Yes or no; empty is no. */
export function flag(z: ZObject, input: Inputs, name: string, label: string): boolean {
  const text = textOf(z, input, name, label);
  if (text === undefined || /^(?:false|no|n|0)$/i.test(text)) return false;
  if (/^(?:true|yes|y|1)$/i.test(text)) return true;
  throw invalid(z, `${label} must be yes or no, not ${JSON.stringify(text)}.`);
}

/** As programs write numbers, `1e-7` and `.5` among them. */
const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i;

/** A dollar amount as people write it (`$1,234.50`), as decimal text. */
export function amount(z: ZObject, input: Inputs, name: string, label: string): string | undefined {
  const value = input[name];
  const isOdd = (typeof value === 'object' && value !== null) || typeof value === 'boolean';
  const text = typeof value === 'number' ? decimal(value) : isOdd ? JSON.stringify(value) : textOf(z, input, name, label);
  if (text === undefined) return undefined;
  const plain = text.replace(/^\$\s*/, '').replace(/^([1-9]\d{0,2})((?:,\d{3})+)(?=\.|$)/, (whole) => whole.replaceAll(',', ''));
  const usd = NUMBER.test(plain) && parseUsd(plain) === undefined ? decimal(Number(plain)) : plain;
  const nanos = parseUsd(usd);
  if (nanos === undefined || nanos < 0n)
    throw invalid(z, `${label} must be an amount in dollars such as 0.50, not ${JSON.stringify(text)}.`);
  return usd;
}

/** Nothing uses more in one call; the gateway would take it for no usage at all. */
export const TOKENS_MAX = 1_000_000_000;

/** A whole number above zero, or zero where that means something. */
export function count(z: ZObject, input: Inputs, name: string, label: string, least = 1, most?: number): number | undefined {
  const text = textOf(z, input, name, label);
  if (text === undefined) return undefined;
  const value = /^\d+(?:\.0+)?$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value) || value < least || value > (most ?? value))
    throw invalid(
      z,
      `${label} must be a whole number from ${least} ${most === undefined ? 'on' : `to ${most}`}, not ${JSON.stringify(text)}.`,
    );
  return value;
}

/** A number with a decimal point. */
export function numberOf(z: ZObject, input: Inputs, name: string, label: string): number | undefined {
  const text = textOf(z, input, name, label);
  if (text === undefined) return undefined;
  const value = NUMBER.test(text) ? Number(text) : Number.NaN;
  if (!Number.isFinite(value)) throw invalid(z, `${label} must be a number such as 0.7, not ${JSON.stringify(text)}.`);
  return value;
}

/** Whom a step works for. The Zap's own id, where Zapier tells it, is the workflow unless the user says another. */
export function contextOf(z: ZObject, input: Inputs, zapId: string | undefined): AgentContext {
  return {
    runId: idOf(z, input, 'run_id', 'Run ID'),
    sessionId: idOf(z, input, 'session_id', 'Session ID'),
    workflowId: idOf(z, input, 'workflow_id', 'Workflow') ?? (zapId === undefined ? undefined : `zap_${zapId}`),
    agentId: idOf(z, input, 'agent_id', 'Agent'),
    customerId: idOf(z, input, 'customer_id', 'Customer ID'),
  };
}

/** Where in its run a call stands: its call id is its step, so a replay comes back to the same one. */
export function placeOf(z: ZObject, input: Inputs, callId: string, attempt: number): CallPlace & { readonly stepId: string } {
  const parentStepId = idOf(z, input, 'parent_step_id', 'Parent Call ID');
  return { stepId: callId, ...(parentStepId === undefined ? {} : { parentStepId }), ...(attempt > 1 ? { attempt } : {}) };
}

/** `1e-7` is a number to JavaScript and no amount to anybody else. */
function decimal(value: number): string {
  return Number.isFinite(value) ? value.toFixed(9).replace(/\.?0+$/, '') : String(value);
}
