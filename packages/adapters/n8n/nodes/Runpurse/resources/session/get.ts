import { askAccepted, requireId, type Operation } from '../operation.ts';

export const get: Operation = {
  value: 'get',
  name: 'Get',
  action: 'Get a session',
  description: 'Cost, revenue, margin and budgets of a session over all its runs',
  properties: [
    {
      displayName: 'State the Session ID under Attribution below.',
      name: 'sessionNotice',
      type: 'notice',
      default: '',
    },
  ],
  execute(item) {
    const session = requireId(item, item.place.sessionId, 'session', 'Session ID');
    return askAccepted(item, { method: 'GET', path: `/v1/sessions/${encodeURIComponent(session)}` });
  },
};
