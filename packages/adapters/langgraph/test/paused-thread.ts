import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { deserialize, serialize } from 'node:v8';
import { Command, END, interrupt, MemorySaver, MessagesAnnotation, START, StateGraph } from '@langchain/langgraph';
import { tool } from 'langchain';
import { z } from 'zod';
import { RunpurseCallbackHandler, withRunpurse } from '../src/index.ts';
import { plainModel } from './stage.ts';

/** A process of its own for one turn of a thread: `node paused-thread.ts URL KEY FILE RUN_ID start|resume`. FILE keeps the checkpoints. */
const [baseUrl = '', apiKey = '', file = '', runId = '', turn = ''] = process.argv.slice(2);

const runpurse = new RunpurseCallbackHandler({ baseUrl, apiKey });
const model = withRunpurse(plainModel(`${baseUrl}/v1`, { model: 'model', apiKey, maxTokens: 1000 }));
const schema = z.object({ q: z.string() });
const lookup = tool(({ q }) => `found ${q}`, { name: 'lookup', description: 'looks up', schema });
const refund = tool(({ q }) => `${String(interrupt('refund?'))} ${q}`, { name: 'refund', description: 'pays back', schema });

const checkpointer = new MemorySaver();
if (existsSync(file)) Object.assign(checkpointer, deserialize(readFileSync(file)));
const graph = new StateGraph(MessagesAnnotation)
  .addNode('ask', async () => {
    await lookup.invoke({ type: 'tool_call', id: 'call_1', name: 'lookup', args: { q: 'x' } });
    await lookup.invoke({ q: 'by hand' });
    await refund.invoke({ type: 'tool_call', id: 'call_2', name: 'refund', args: { q: 'x' } });
    interrupt('sure?');
    return { messages: [await model.invoke('hi')] };
  })
  .addEdge(START, 'ask')
  .addEdge('ask', END)
  .compile({ checkpointer })
  .withConfig({ callbacks: [runpurse], configurable: { thread_id: 'thread-1' } });

await graph.invoke(turn === 'resume' ? new Command({ resume: 'yes' }) : { messages: ['hi'] }, { runId });
await runpurse.client.close();
writeFileSync(file, serialize({ storage: checkpointer.storage, writes: checkpointer.writes }));
