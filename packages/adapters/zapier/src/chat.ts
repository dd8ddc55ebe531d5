import type { ZObject } from 'zapier-platform-core';
import type { TransportResponse } from '@runpurse/core';
import { answerError } from './errors.ts';
import { count, flag, invalid, numberOf, required, textOf, TOKENS_MAX } from './inputs.ts';

/** A chat completion between Zapier's fields and OpenAI's wire. */

type Inputs = Readonly<Record<string, unknown>>;

/** The request's body; what can't be read is told with its field's name. */
export function requestOf(z: ZObject, input: Inputs): Readonly<Record<string, unknown>> {
  const model = required(z, input, 'model', 'Model');
  const maxTokens = count(z, input, 'max_tokens', 'Most Output Tokens', 1, TOKENS_MAX);
  const temperature = numberOf(z, input, 'temperature', 'Temperature');
  const tools = jsonList(z, input, 'tools', 'Tools');
  return {
    model,
    messages: messagesOf(z, input),
    ...(maxTokens === undefined ? {} : { max_tokens: maxTokens }),
    ...(temperature === undefined ? {} : { temperature }),
    ...(flag(z, input, 'json_output', 'Answer in JSON') ? { response_format: { type: 'json_object' } } : {}),
    ...(tools === undefined ? {} : { tools }),
  };
}

function messagesOf(z: ZObject, input: Inputs): readonly unknown[] {
  const given = jsonList(z, input, 'messages', 'Messages');
  if (given !== undefined) return given;
  const [instructions, prompt] = [textOf(z, input, 'instructions', 'Instructions'), textOf(z, input, 'prompt', 'Prompt')];
  const images = imagesOf(z, input);
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

/** Zapier hands over a list; whoever maps one picture may send it alone. */
function imagesOf(z: ZObject, input: Inputs): readonly string[] {
  const given: unknown = input['images'] ?? [];
  return (Array.isArray(given) ? (given as unknown[]) : [given])
    .map((image) => (typeof image === 'string' ? image.trim() : (image ?? '')))
    .filter((image) => image !== '')
    .map((image) => {
      if (typeof image === 'string' && /^(?:https?:\/\/|data:image\/)\S+$/i.test(image)) return image;
      throw invalid(
        z,
        `Image Addresses must be web addresses such as https://example.com/a.png, not ${JSON.stringify(image).slice(0, 80)}.`,
      );
    });
}

function jsonList(z: ZObject, input: Inputs, name: string, label: string): readonly unknown[] | undefined {
  let list: unknown = input[name] ?? '';
  if (typeof list === 'string' && list.trim() === '') return undefined;
  try {
    if (typeof list === 'string') list = JSON.parse(list) as unknown;
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
