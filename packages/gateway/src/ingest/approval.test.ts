import { afterEach, describe, expect, it } from '@jest/globals';
import { openTestStage, type TestStage } from './test-stage.ts';

let stage: TestStage;
afterEach(() => stage.close());

describe('a request for approval', () => {
  const asks = (status?: string): object => ({
    type: 'approval.requested',
    run_id: 'r1',
    metadata: { message: 'refund of $40?', ...(status !== undefined && { status }) },
  });

  it('leaves the run paused when its sender says that it waits', async () => {
    stage = await openTestStage();
    await stage.send({ type: 'run.started', run_id: 'r1' });
    await stage.send(asks('paused'));
    expect(await stage.run('r1')).toMatchObject({ status: 'paused', status_reason: 'refund of $40?' });
    await stage.send({ type: 'run.completed', run_id: 'r1' });
    expect(await stage.run('r1')).toMatchObject({ status: 'completed' });
  });

  it('changes nothing else about the run, and nothing about one that is over', async () => {
    stage = await openTestStage();
    await stage.send({ type: 'run.started', run_id: 'r1' });
    await stage.send(asks());
    expect(await stage.run('r1')).toMatchObject({ status: 'running' });
    await stage.send({ type: 'run.completed', run_id: 'r1' });
    await stage.send(asks('paused'));
    expect(await stage.run('r1')).toMatchObject({ status: 'completed' });
  });
});
