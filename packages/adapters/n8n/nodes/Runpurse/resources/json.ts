import { NodeOperationError } from 'n8n-workflow';
import { jsonOf } from '../../shared/transport.ts';
import type { Item } from './operation.ts';

type IsRight = (value: unknown) => boolean;

/** A JSON field as data; undefined when it is left empty. Throws the error that names it. */
export function jsonParameter(item: Item, name: string, label: string, isRight: IsRight): unknown {
  return jsonIn(item, item.context.getNodeParameter(name, item.index, ''), label, isRight);
}

/** The same of a value at hand: text, or data that an expression gave. */
export function jsonIn(item: Item, value: unknown, label: string, isRight: IsRight): unknown {
  if (value === undefined || (typeof value === 'string' && value.trim() === '')) return undefined;
  const data = typeof value === 'string' ? jsonOf(value) : value;
  if (data !== undefined && isRight(data)) return data;
  const wanted = isRight === Array.isArray ? 'a JSON list' : 'a JSON object such as {"order": 7}';
  throw new NodeOperationError(item.context.getNode(), `${label} ${data === undefined ? 'is no JSON: it ' : ''}must be ${wanted}`, {
    itemIndex: item.index,
  });
}
