import type { Usage } from '../store/entry.ts';
import { asCount, asObject } from './json.ts';

/**
 * The usage of OpenAI's wires in disjoint classes. Their counts overlap: prompt tokens hold cached, cache-written and
 * audio ones, completion tokens hold reasoning and audio. Names of both wires are read (`prompt_tokens`,
 * `input_tokens`), and what compatible servers do differently:
 * DeepSeek `prompt_cache_hit_tokens`; Moonshot `cached_tokens`; xAI and Gemini leave reasoning out of
 * `completion_tokens` and have it in `total_tokens`; Perplexity counts `num_search_queries`.
 */
export function openaiUsage(value: unknown): Usage | undefined {
  const usage = asObject(value);
  if (usage === undefined) return undefined;
  const inputDetails = asObject(usage['prompt_tokens_details'] ?? usage['input_tokens_details']) ?? {};
  const outputDetails = asObject(usage['completion_tokens_details'] ?? usage['output_tokens_details']) ?? {};
  const total = asCount(usage['total_tokens']);
  const completion = asCount(usage['completion_tokens'] ?? usage['output_tokens']);
  const prompt = asCount(usage['prompt_tokens'] ?? usage['input_tokens']) ?? difference(total, completion);
  if (prompt === undefined && completion === undefined) return undefined;

  const cached = asCount(inputDetails['cached_tokens'] ?? usage['prompt_cache_hit_tokens'] ?? usage['cached_tokens']) ?? 0;
  const written = asCount(inputDetails['cache_write_tokens']) ?? 0;
  // A server that counts more cached tokens than prompt tokens counts them apart.
  const disjoint = prompt !== undefined && cached > prompt;
  const whole = disjoint ? prompt + cached : (prompt ?? 0);
  const audioInputTokens = Math.min(asCount(inputDetails['audio_tokens']) ?? 0, whole);
  const cacheWrite5mTokens = Math.min(written, whole - audioInputTokens);
  const cacheReadTokens = Math.min(cached, whole - audioInputTokens - cacheWrite5mTokens);

  const reasoning = asCount(outputDetails['reasoning_tokens'] ?? usage['reasoning_tokens']) ?? 0;
  const generated = generatedTokens(completion, difference(total, prompt === undefined ? undefined : whole), reasoning);
  const audioOutputTokens = Math.min(asCount(outputDetails['audio_tokens']) ?? 0, generated ?? 0);
  return {
    inputTokens: prompt === undefined ? undefined : whole - audioInputTokens - cacheWrite5mTokens - cacheReadTokens,
    cacheReadTokens,
    cacheWrite5mTokens,
    cacheWrite1hTokens: 0,
    outputTokens: generated === undefined ? undefined : generated - audioOutputTokens,
    reasoningTokens: Math.min(reasoning, generated ?? 0),
    audioInputTokens,
    audioOutputTokens,
    webSearches: asCount(usage['num_search_queries'] ?? usage['num_sources_used']) ?? 0,
  };
}

/** Whichever reading bills more: reasoning that stands beside the completion is billed as output too. */
function generatedTokens(completion: number | undefined, beyondPrompt: number | undefined, reasoning: number): number | undefined {
  if (completion === undefined) return beyondPrompt;
  const apart = reasoning > completion ? completion + reasoning : completion;
  return beyondPrompt === undefined ? apart : Math.max(completion, beyondPrompt);
}

function difference(whole: number | undefined, part: number | undefined): number | undefined {
  return whole === undefined || part === undefined || whole < part ? undefined : whole - part;
}

/**
 * A usage that contradicts the reply is no usage: some servers fill the object with zeros. A prompt is never of 0
 * tokens, and output that was seen is never 0; both then read as not reported, so that nothing is priced at $0.
 */
export function believable(usage: Usage | undefined, outputBytes: number): Usage | undefined {
  if (usage === undefined) return undefined;
  const read =
    (usage.inputTokens ?? 0) + usage.cacheReadTokens + usage.cacheWrite5mTokens + usage.cacheWrite1hTokens + usage.audioInputTokens;
  const written = (usage.outputTokens ?? 0) + usage.audioOutputTokens;
  const inputTokens = read === 0 ? undefined : usage.inputTokens;
  const outputTokens = written === 0 && outputBytes > 0 ? undefined : usage.outputTokens;
  if (inputTokens === undefined && outputTokens === undefined) return undefined;
  return { ...usage, inputTokens, outputTokens };
}
