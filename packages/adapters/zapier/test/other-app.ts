/** Another app's AI step in the same Zap: calls its provider itself, past the gateway. */

export interface ToolCall {
  readonly id: string;
  readonly type: 'function';
  readonly function: { readonly name: string; readonly arguments: string };
}

interface Reply {
  readonly model: string;
  readonly text: string;
  readonly toolCalls: readonly ToolCall[];
  readonly usage: Readonly<Record<string, number>>;
}

export async function callModel(
  { baseUrl, apiKey }: { readonly baseUrl: string; readonly apiKey: string },
  request: object,
): Promise<Reply | { readonly error: string }> {
  const response = await fetch(`${baseUrl}/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${apiKey}` },
    body: JSON.stringify(request),
  });
  const body = (await response.json()) as {
    readonly error?: { readonly message: string };
    readonly model: string;
    readonly choices: readonly { readonly message: { readonly content: string | null; readonly tool_calls?: readonly ToolCall[] } }[];
    readonly usage?: {
      readonly prompt_tokens: number;
      readonly completion_tokens: number;
      readonly prompt_tokens_details?: { readonly cached_tokens?: number };
      readonly completion_tokens_details?: { readonly reasoning_tokens?: number };
    };
  };
  if (body.error !== undefined) return { error: body.error.message };
  const message = body.choices[0]?.message;
  return {
    model: body.model,
    text: message?.content ?? '',
    toolCalls: message?.tool_calls ?? [],
    usage:
      body.usage === undefined
        ? {}
        : {
            input_tokens: body.usage.prompt_tokens,
            cached_tokens: body.usage.prompt_tokens_details?.cached_tokens ?? 0,
            output_tokens: body.usage.completion_tokens,
            reasoning_tokens: body.usage.completion_tokens_details?.reasoning_tokens ?? 0,
          },
  };
}
