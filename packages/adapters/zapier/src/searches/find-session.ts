import type { Bundle, Search, ZObject } from 'zapier-platform-core';
import type { SessionShape } from '@runpurse/core';
import { read } from '../attach.ts';
import { SESSION_OUT, SESSION_SAMPLE } from '../fields.ts';
import { requiredId } from '../inputs.ts';
import { sessionRow } from '../translate.ts';

async function perform(z: ZObject, bundle: Bundle): Promise<object[]> {
  const sessionId = requiredId(z, bundle.inputData, 'session_id', 'Session ID');
  const session = await read<SessionShape>(z, bundle, `/v1/sessions/${encodeURIComponent(sessionId)}`);
  return session === undefined ? [] : [sessionRow(session)];
}

export const findSession: Search = {
  key: 'find_session',
  noun: 'Session',
  display: { label: 'Find Session', description: 'Finds a session with its cost and margin over all its runs.' },
  operation: {
    perform,
    inputFields: [{ key: 'session_id', label: 'Session ID', type: 'string', required: true }],
    sample: SESSION_SAMPLE,
    outputFields: SESSION_OUT as Search['operation']['outputFields'] & object,
  },
};
