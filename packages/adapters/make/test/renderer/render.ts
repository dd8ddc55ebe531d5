import { evaluate, type Scope } from './iml.ts';
import { text } from './text.ts';

const WHOLE = /^\{\{((?:(?!\}\}).)*)\}\}$/s;
const PART = /\{\{((?:(?!\}\}).)*)\}\}/gs;

/**
 * A piece of an app's JSON with its templates filled in. A text that is one expression becomes its value, whatever its
 * type; within other text a value becomes text. Keys whose value is undefined are gone, as they are when JSON is written.
 */
export function render(template: unknown, scope: Scope): unknown {
  if (typeof template === 'string') return renderText(template, scope);
  if (Array.isArray(template)) return template.map((item) => render(item, scope));
  if (typeof template !== 'object' || template === null) return template;
  return Object.fromEntries(
    Object.entries(template)
      .flatMap(([key, value]) => (key === SPREAD ? Object.entries(render(value, scope) ?? {}) : [[key, render(value, scope)] as const]))
      .filter(([, value]) => value !== undefined),
  );
}

/** The key that stands for all keys of its value. */
const SPREAD = '{{...}}';

function renderText(template: string, scope: Scope): unknown {
  const whole = WHOLE.exec(template)?.[1];
  if (whole !== undefined) return evaluate(whole, scope);
  return template.replace(PART, (_match, source: string) => text(evaluate(source, scope)));
}

/** Every expression of a file, for tests that look at them all. */
export function expressionsOf(template: unknown): readonly string[] {
  if (typeof template === 'string') return [...template.matchAll(PART)].map((match) => match[1] ?? '');
  if (typeof template !== 'object' || template === null) return [];
  return Object.values(template).flatMap(expressionsOf);
}
