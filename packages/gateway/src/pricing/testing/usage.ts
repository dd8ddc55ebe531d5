import type { Usage } from '../../store/entry.ts';

/** A usage of nothing but what a test names. */
export function usageOf(some: Partial<Usage>): Usage {
  return {
    inputTokens: 0,
    cacheReadTokens: 0,
    cacheWrite5mTokens: 0,
    cacheWrite1hTokens: 0,
    outputTokens: 0,
    reasoningTokens: 0,
    audioInputTokens: 0,
    audioOutputTokens: 0,
    webSearches: 0,
    ...some,
  };
}
