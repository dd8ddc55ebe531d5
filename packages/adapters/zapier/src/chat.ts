import type { ZObject } from 'zapier-platform-core';
import type { TransportResponse } from '@runpurse/core';
import { answerError } from './errors.ts';
import { count, invalid, required } from './inputs.ts';
import { flagOf, numberOf, textOf } from './translate.ts';

/** A chat completion between Zapier's fields and OpenAI's wire. */

type Inputs = Readonly<Record<string, unknown>>;

/** The request's body; what can't be read is told with its field's name. */
export function requestOf(z: ZObject, input: Inputs): Readonly<Record<string, unknown>> {
  const model = required(z, input, 'model', 'Model');
  const maxTokens = count(z, input, 'max_tokens', 'Most Output Tokens');
  const temperature = numberOf(input, 'temperature');
  const tools = jsonList(z, input, 'tools', 'Tools');
  return {
    model,
    messages: messagesOf(z, input),
    ...(maxTokens === undefined ? {} : { max_tokens: maxTokens }),
    ...(temperature === undefined ? {} : { temperature }),
    ...(flagOf(input, 'json_output') ? { response_format: { type: 'json_object' } } : {}),
    ...(tools === undefined ? {} : { tools }),
  };
}

function messagesOf(z: ZObject, input: Inputs): readonly unknown[] {
  const given = jsonList(z, input, 'messages', 'Messages');
  if (given !== undefined) return given;
  const [instructions, prompt] = [textOf(input, 'instructions'), textOf(input, 'prompt')];
  const images = (Array.isArray(input['images']) ? (input['images'] as unknown[]) : []).filter(
    (image): image is string => typeof image === 'string' && image !== '',
  );
  if (prompt === undefined && images.length === 0) throw invalid(z, 'Fill in Prompt (or Messages): there is nothing to ask the model.');
  const content =
    images.length === 0
      ? prompt
      : [
          ...(prompt === undefined ? [] : [{ type: 'text', text: prompt }]),
          ...images.map((url) => ({ type: 'image_url', image_url: { url } })),
        ];
  return [...(instructions === undefined ? [] : [{ role: 'system', content: instructions }]), { role: 'user', content }];
}

function jsonList(z: ZObject, input: Inputs, name: string, label: string): readonly unknown[] | undefined {
  const value = input[name];
  if (Array.isArray(value)) return value as unknown[];
  const text = textOf(input, name);
  if (text === undefined) return undefined;
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch {
    throw invalid(z, `${label} is no JSON. It must be a list as OpenAI's API takes it, such as [{"role": "user", "content": "Hello"}].`);
  }
  if (!Array.isArray(list)) throw invalid(z, `${label} must be a JSON list, in square brackets.`);
  return list as unknown[];
}

interface Completion {
  readonly model?: string;
  readonly choices?: readonly {
    readonly finish_reason?: string;
    readonly message?: { readonly content?: string | null; readonly tool_calls?: readonly unknown[]; readonly refusal?: string | null };
  }[];
  readonly usage?: { readonly prompt_tokens?: number; readonly completion_tokens?: number } | null;
}

function parse(z: ZObject, status: number, body: string): Completion {
  try {
    return JSON.parse(body) as Completion;
  } catch {
    throw answerError(z, status, body, {});
  }
}

/** What the model said, what it cost and what is left. */
export function readAnswer(z: ZObject, { status, body, headers }: TransportResponse): Readonly<Record<string, unknown>> {
  const completion = parse(z, status, body);
  const choice = completion.choices?.[0];
  const cost = headers['x-runpurse-request-cost-usd'];
  return {
    text: choice?.message?.content ?? choice?.message?.refusal ?? '',
    tool_calls: choice?.message?.tool_calls ?? [],
    message: choice?.message ?? null,
    finish_reason: choice?.finish_reason ?? null,
    model: completion.model ?? null,
    input_tokens: completion.usage?.prompt_tokens ?? null,
    output_tokens: completion.usage?.completion_tokens ?? null,
    request_id: headers['x-runpurse-request-id'] ?? null,
    cost_usd: cost === undefined || cost === 'unknown' ? null : cost,
    run_cost_usd: headers['x-runpurse-run-cost-usd'] ?? null,
    run_remaining_usd: headers['x-runpurse-run-remaining-usd'] ?? null,
    session_remaining_usd: headers['x-runpurse-session-remaining-usd'] ?? null,
    budget_state: headers['x-runpurse-budget-state'] ?? null,
  };
}
