import { EVENT_TYPES, redact } from '@runpurse/core';
import type { IDataObject } from 'n8n-workflow';
import { fieldsOf } from '../../../shared/attribution.ts';
import { fieldOf, jsonIn } from '../../../shared/fields.ts';
import { askAccepted, choice, id, stated, text, type Item, type Operation } from '../operation.ts';

export const record: Operation = {
  value: 'record',
  name: 'Record',
  action: 'Record an event',
  description: 'Put something that happened into the log of the run. Secrets are taken out before it leaves n8n.',
  properties: [
    {
      displayName: 'Type',
      name: 'eventType',
      type: 'options',
      options: Object.keys(EVENT_TYPES)
        .sort()
        .map((value) => ({ name: value, value })),
      default: 'checkpoint.created',
    },
    { displayName: 'Name', name: 'eventName', type: 'string', default: '', placeholder: 'refund approved' },
    {
      displayName: 'Metadata',
      name: 'metadata',
      type: 'json',
      default: '{}',
      description: 'What else is to be known of it. Fields such as cost_usd, revenue_usd, model and usage carry meaning.',
    },
    {
      displayName: 'Event ID',
      name: 'eventId',
      type: 'string',
      default: '',
      description: 'Recorded twice under one ID, it counts once. Default: this node and item of this execution.',
    },
  ],
  async execute(item) {
    const metadata = redact(jsonIn(fieldOf(item.fields, 'metadata'), 'object') ?? {}) as IDataObject;
    const eventId = eventIdOf(item);
    const event = stated({
      event_id: eventId,
      type: choice(item, 'eventType'),
      source: 'n8n',
      name: redact(text(item, 'eventName')),
      ...fieldsOf(item.place),
      metadata,
    });
    const answer = await askAccepted(item, { method: 'POST', path: '/v1/agent/events', body: { events: [event] }, survivesCancel: true });
    const [decision] = answer['decisions'] as IDataObject[];
    return {
      recorded: true,
      eventId,
      runId: item.place.runId ?? null,
      alreadyKnown: decision?.['duplicate'] === true,
      allowed: answer['allowed'],
    };
  },
  withoutGateway: (item) => ({ recorded: false, eventId: eventIdOf(item), runId: item.place.runId ?? null }),
};

function eventIdOf(item: Item): string {
  return id(item, 'eventId') || [item.place.runId, item.place.key].filter((part) => part !== undefined).join('/');
}
