import type { Nanos } from '@runpurse/core';
import { asArray, asCount, asObject, asText } from './json.ts';
import type { JsonObject, ModelCall } from './wire.ts';

// What the Responses API's own tools cost beyond tokens (https://platform.openai.com/docs/pricing#built-in-tools).

/** 2.50 USD per thousand calls. */
const FILE_SEARCH_FEE: Nanos = 2_500_000n;
/** Per container and session of 20 minutes, by its memory. */
const CONTAINER_FEES: Readonly<Record<string, Nanos>> = {
  '1g': 30_000_000n,
  '4g': 120_000_000n,
  '16g': 480_000_000n,
  '64g': 1_920_000_000n,
};
const CONTAINER_FEE_MAX: Nanos = 1_920_000_000n;

/** Tools the CALLER carries out: they cost tokens only. */
const CALLERS_TOOLS: ReadonlySet<string> = new Set([
  'function',
  'custom',
  'computer',
  'computer_use_preview',
  'local_shell',
  'apply_patch',
  'namespace',
]);
/**
 * Tools of which the request says that the caller carries them out: a search for tools, whose finds come with a request of their own
 * (https://developers.openai.com/api/docs/guides/tools-tool-search), and a local shell (…/guides/tools-shell).
 */
function isCallersOwn(type: string, tool: JsonObject | undefined): boolean {
  if (type === 'tool_search') return tool?.['execution'] === 'client';
  return type === 'shell' && asObject(tool?.['environment'])?.['type'] === 'local';
}

/** Tools the provider carries out, under `max_tool_calls`. */
const PROVIDERS_TOOLS = /^(web_search|web_search_preview|file_search|code_interpreter|mcp)(_\d|$)/;

export interface BuiltInTools {
  /** How often the input may be read: once, and again after each use of a tool. */
  readonly turns: number;
  readonly webSearches: number;
  readonly fees: Nanos;
  readonly unbounded: ModelCall['unbounded'];
}

/** Bounds of a request's built-in tools. */
export function boundTools(body: JsonObject): BuiltInTools {
  const uses = asCount(body['max_tool_calls']);
  let isUsed = false;
  let webSearches = 0;
  let fees = 0n;
  let unbounded: ModelCall['unbounded'];
  for (const tool of asArray(body['tools'])) {
    const type = asText(asObject(tool)?.['type']) ?? 'function';
    if (CALLERS_TOOLS.has(type) || isCallersOwn(type, asObject(tool))) continue;
    if (!PROVIDERS_TOOLS.test(type)) {
      unbounded ??= { param: 'tools', reason: `the provider runs the tool \`${type}\` itself, and what it costs is not bounded` };
      continue;
    }
    if (uses === undefined) {
      unbounded ??= { param: 'max_tool_calls', reason: `the provider may use the tool \`${type}\` without limit; set \`max_tool_calls\`` };
      continue;
    }
    isUsed = true;
    if (type.startsWith('web_search')) webSearches = uses;
    if (type.startsWith('file_search')) fees += FILE_SEARCH_FEE * BigInt(uses);
    if (type.startsWith('code_interpreter')) fees += containerFee(tool);
  }
  return { turns: isUsed ? (uses ?? 0) + 1 : 1, webSearches, fees, unbounded };
}

/** Tool uses a response shows: its searches, and the flat fees of the rest. */
export function usedTools(response: JsonObject): { readonly webSearches: number; readonly fees: Nanos } {
  let webSearches = 0;
  let fees = 0n;
  const containers = new Set<string>();
  for (const item of asArray(response['output'])) {
    const fields = asObject(item);
    switch (fields?.['type']) {
      case 'web_search_call': {
        // Opening a page and looking through it are free; a search is not.
        const action = asText(asObject(fields['action'])?.['type']);
        if (action === undefined || action === 'search') webSearches += 1;
        break;
      }
      case 'file_search_call':
        fees += FILE_SEARCH_FEE;
        break;
      case 'code_interpreter_call':
        containers.add(asText(fields['container_id']) ?? '');
        break;
      default:
    }
  }
  const tool = asArray(response['tools']).find((one) => asText(asObject(one)?.['type'])?.startsWith('code_interpreter') === true);
  return { webSearches, fees: fees + BigInt(containers.size) * containerFee(tool) };
}

function containerFee(tool: unknown): Nanos {
  const container = asObject(tool)?.['container'];
  // A container named by its id was made before, with a memory we can't see.
  if (typeof container === 'string') return CONTAINER_FEE_MAX;
  const memory = asText(asObject(container)?.['memory_limit']) ?? '1g';
  return CONTAINER_FEES[memory] ?? CONTAINER_FEE_MAX;
}
