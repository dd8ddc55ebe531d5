import { askAccepted, reasonOf, runOf, stated, type Operation } from '../operation.ts';

export const stop: Operation = {
  value: 'stop',
  name: 'Stop',
  action: 'Stop a run',
  description: 'Every further call of the run is refused',
  properties: [{ displayName: 'Reason', name: 'reason', type: 'string', default: '', description: 'Shown to whoever is refused' }],
  execute(item) {
    const body = stated({ reason: reasonOf(item) });
    return askAccepted(item, { method: 'POST', path: `/v1/runs/${encodeURIComponent(runOf(item))}/stop`, body });
  },
};
