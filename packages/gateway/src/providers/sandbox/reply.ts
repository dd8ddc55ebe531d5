import { countTokens, type Conversation } from './conversation.ts';
import type { ScriptedReply } from './script.ts';

/** What a reply used, in disjoint classes. */
export interface SandboxUsage {
  readonly inputTokens: number;
  readonly cacheReadTokens: number;
  readonly cacheWrite5mTokens: number;
  readonly cacheWrite1hTokens: number;
  readonly outputTokens: number;
  readonly reasoningTokens: number;
  readonly webSearches: number;
}

export interface SandboxToolCall {
  readonly id: string;
  readonly name: string;
  /** JSON text as a model writes it; broken off when the output limit was reached. */
  readonly arguments: string;
}

/** A finished answer, before a wire renders it. */
export interface SandboxReply {
  readonly model: string;
  /** Hex text that is the same for the same request, for ids. */
  readonly fingerprint: string;
  readonly turn: number;
  readonly createdSeconds: number;
  readonly text: string;
  readonly toolCalls: readonly SandboxToolCall[];
  readonly finish: 'stop' | 'length' | 'tool_calls' | 'content_filter';
  /** `undefined`: scripted to say nothing of its usage. */
  readonly usage: SandboxUsage | undefined;
  readonly choices: number;
  readonly includeUsage: boolean;
}

/** One event of a stream. Content is what `error.after_chunks` counts; a stream that is to fail never gets to its end. */
export interface StreamPiece {
  readonly text: string;
  readonly kind: 'frame' | 'content' | 'end';
}

/**
 * Makes the answer for a conversation: what the script says, else an echo of the last user message. The output never
 * exceeds the caller's limit: text and arguments are cut in proportion and the reply says `length`.
 */
export function composeReply(
  conversation: Conversation,
  scripted: ScriptedReply | undefined,
  identity: { readonly fingerprint: string; readonly createdSeconds: number },
): SandboxReply {
  const toolCalls = (scripted?.tool_calls ?? []).map((call, index) => ({
    id: call.id ?? `call_${identity.fingerprint.slice(0, 20)}${index}`,
    name: call.name,
    arguments: typeof call.arguments === 'string' ? call.arguments : JSON.stringify(call.arguments),
  }));
  const text = scripted?.text ?? (toolCalls.length > 0 ? '' : `Sandbox heard: ${conversation.lastUserText.slice(0, 400)}`);
  const spoken = countTokens(text) + toolCalls.reduce((sum, call) => sum + 1 + countTokens(call.arguments), 0);
  const wanted = scripted?.usage?.output_tokens ?? Math.max(1, spoken) + (scripted?.usage?.reasoning_tokens ?? 0);
  const perChoice = Math.min(wanted, conversation.maxTokens ?? wanted);
  const kept = wanted === 0 ? 1 : perChoice / wanted;
  const natural = scripted?.finish_reason ?? (toolCalls.length > 0 ? 'tool_calls' : 'stop');
  return {
    ...identity,
    model: scripted?.model ?? conversation.model,
    turn: conversation.turn,
    text: keepShare(text, kept),
    toolCalls: toolCalls.map((call) => ({ ...call, arguments: call.arguments.slice(0, Math.floor(call.arguments.length * kept)) })),
    finish: perChoice < wanted ? 'length' : natural,
    usage: scripted?.usage === null ? undefined : usageOf(conversation, scripted, perChoice),
    choices: conversation.choices,
    includeUsage: conversation.includeUsage,
  };
}

function usageOf(conversation: Conversation, scripted: ScriptedReply | undefined, perChoice: number): SandboxUsage {
  const usage = scripted?.usage ?? undefined;
  return {
    inputTokens: usage?.input_tokens ?? conversation.inputTokens,
    cacheReadTokens: usage?.cache_read_tokens ?? 0,
    cacheWrite5mTokens: usage?.cache_write_5m_tokens ?? 0,
    cacheWrite1hTokens: usage?.cache_write_1h_tokens ?? 0,
    outputTokens: perChoice * conversation.choices,
    reasoningTokens: Math.min(usage?.reasoning_tokens ?? 0, perChoice) * conversation.choices,
    webSearches: usage?.web_searches ?? 0,
  };
}

/** The first words of a text, whole when all is kept. */
function keepShare(text: string, share: number): string {
  return share >= 1
    ? text
    : piecesOf(text, 1)
        .slice(0, Math.floor(countTokens(text) * share))
        .join('');
}

/** A text in pieces of a few words, as a model streams it; joined again they are the text. */
export function piecesOf(text: string, words = 4): readonly string[] {
  return text.match(new RegExp(`(?:\\s*\\S+){1,${words}}(?:\\s+$)?`, 'g')) ?? (text === '' ? [] : [text]);
}

/** A server-sent event with a JSON payload; `event` is the name Anthropic's and the responses wire carry. */
export function sse(data: unknown, event?: string): string {
  return `${event === undefined ? '' : `event: ${event}\n`}data: ${JSON.stringify(data)}\n\n`;
}
