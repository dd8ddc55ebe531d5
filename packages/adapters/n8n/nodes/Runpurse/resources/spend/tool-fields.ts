import type { INodeProperties } from 'n8n-workflow';
import { id, type Item } from '../operation.ts';

export const toolCallIdField: INodeProperties = {
  displayName: 'Tool Call ID',
  name: 'toolCallId',
  type: 'string',
  default: '',
  description:
    'Key of the hold: asked or settled twice with the same ID, it is charged once. Default: this node and item of this execution.',
};

/** The hold's key. Without one the place's: the same when n8n tries the node again. */
export function toolCallIdOf(item: Item): string {
  return id(item, 'toolCallId') || item.place.key;
}
