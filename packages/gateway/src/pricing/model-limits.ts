import limits from './data/model-limits.json' with { type: 'json' };
import { compileGlobs } from '../policy/glob.ts';

/** A model's stated sizes, in tokens. */
export interface ModelLimits {
  readonly output: number | undefined;
  readonly context: number | undefined;
}

const TABLE = limits.models.map((row) => ({
  matches: compileGlobs([row.match], { ignoreCase: true }),
  output: row.output,
  context: 'context' in row ? row.context : undefined,
}));

/** What pricing/data/model-limits.json states for a model, whatever vendor prefix or fine-tune mark it carries. */
export function modelLimits(model: string): ModelLimits {
  const name = bareModel(model);
  const row = TABLE.find(({ matches }) => matches(name));
  return { output: row?.output, context: row?.context };
}

/** `anthropic/claude-opus-5`, `ft:gpt-4o:org::id` and `us.claude-…` all name the model at their heart. */
export function bareModel(model: string): string {
  const name = model.slice(model.lastIndexOf('/') + 1).toLowerCase();
  return name.startsWith('ft:') ? (name.split(':')[1] ?? name) : name;
}
