import { asArray, asCount, asObject, asText } from './json.ts';
import type { JsonObject, ModelCall } from './wire.ts';

/** What the provider's own tools may cost: each use is a turn that reads the input again. */
export interface ServerTools {
  readonly turns: number;
  readonly webSearches: number;
  readonly unbounded: ModelCall['unbounded'];
}
/** Tools of Anthropic's that the CALLER carries out; they cost tokens only. */
const CALLERS_TOOLS = /^(custom|bash_|computer_|text_editor_|memory_)/;
/** Tools the provider carries out under `max_uses`. */
const BOUNDED_TOOLS = /^web_(search|fetch)_/;

export function serverTools(body: JsonObject): ServerTools {
  let turns = 1;
  let webSearches = 0;
  let unbounded: ModelCall['unbounded'];
  for (const tool of asArray(body['tools'])) {
    const fields = asObject(tool);
    const type = asText(fields?.['type']);
    if (type === undefined || CALLERS_TOOLS.test(type)) continue;
    const uses = BOUNDED_TOOLS.test(type) ? asCount(fields?.['max_uses']) : undefined;
    if (uses === undefined) {
      unbounded ??= {
        param: 'tools',
        reason: BOUNDED_TOOLS.test(type)
          ? `the provider may use the tool \`${type}\` without limit; set its \`max_uses\``
          : `the provider runs the tool \`${type}\` itself, and how often is not bounded`,
      };
      continue;
    }
    turns += uses;
    if (type.startsWith('web_search_')) webSearches += uses;
  }
  return { turns, webSearches, unbounded };
}

/** Fields that let the provider do what has no stated bound. */
const UNBOUNDED_FIELDS: Readonly<Record<string, string>> = {
  mcp_servers: 'the provider calls the MCP servers itself, and how often is not bounded',
  fallbacks: 'another, dearer model may answer; leave `fallbacks` out',
  container: 'code runs in a container that is billed by time; leave `container` out',
};

export function unboundedField(body: JsonObject): ModelCall['unbounded'] {
  for (const [param, reason] of Object.entries(UNBOUNDED_FIELDS)) {
    const value = body[param];
    if (value !== undefined && value !== null && !(Array.isArray(value) && value.length === 0)) return { param, reason };
  }
  return undefined;
}
