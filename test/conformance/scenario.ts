import { z } from 'zod';
import { MODES } from './harness.ts';

/** The scenarios as they stand in `shared/conformance/*.json`: data free of any framework. Strict: a typo is named. */

const milliseconds = z.number().int().nonnegative();

/** Tokens the scripted model says it used; `null` in a reply: it says nothing. */
const scriptedUsage = z.strictObject({
  input_tokens: z.number().int(),
  /** Part of `input_tokens`. */
  cached_tokens: z.number().int().default(0),
  output_tokens: z.number().int(),
  /** Part of `output_tokens`. */
  reasoning_tokens: z.number().int().default(0),
});
export type ScriptedUsage = z.infer<typeof scriptedUsage>;

/** What the scripted model answers to one call. Calls are answered in the order of the script. */
const scriptedReply = z.strictObject({
  text: z.string().optional(),
  tool_calls: z.array(z.strictObject({ name: z.string(), arguments: z.record(z.string(), z.unknown()) })).optional(),
  /** Answered with this status and an OpenAI error envelope instead. */
  error: z
    .strictObject({
      status: z.number().int(),
      message: z.string(),
      type: z.string().default('server_error'),
      code: z.string().nullable().default(null),
    })
    .optional(),
  /** Never finishes: a stream sends its first piece of text, a plain reply nothing, until the caller hangs up. */
  hang: z.literal(true).optional(),
  usage: scriptedUsage.nullable(),
  delay_ms: milliseconds.default(5),
});
export type ScriptedReply = z.infer<typeof scriptedReply>;

const scenarioTool = z.strictObject({
  name: z.string(),
  description: z.string(),
  /** Argument names; all are strings and required. */
  parameters: z.array(z.string()),
  /** What it returns, the error text it throws, or the agent that stands behind it: exactly one of the three. */
  result: z.string().optional(),
  error: z.string().optional(),
  get agent() {
    return scenarioAgent.optional();
  },
  delay_ms: milliseconds.default(5),
});

/** An agent, said abstractly: a loop of model calls and the tools they ask for, until the model answers with text. */
export interface ScenarioAgent {
  /** Its agent id. */
  readonly name: string;
  readonly instructions: string;
  readonly model: string;
  /** The output limit each model call states. */
  readonly max_tokens: number;
  /** Tries of a failed model call beyond the first (429 and 5xx only). */
  readonly max_retries: number;
  readonly tools: readonly ScenarioTool[];
}
export interface ScenarioTool {
  readonly name: string;
  readonly description: string;
  readonly parameters: readonly string[];
  readonly result?: string | undefined;
  readonly error?: string | undefined;
  readonly agent?: ScenarioAgent | undefined;
  readonly delay_ms: number;
}

const scenarioAgent: z.ZodType<ScenarioAgent> = z.strictObject({
  name: z.string(),
  instructions: z.string(),
  model: z.string(),
  max_tokens: z.number().int().positive().default(100),
  max_retries: z.number().int().nonnegative().default(0),
  tools: z.array(scenarioTool).default([]),
});

const outcome = z.union([
  z.strictObject({ type: z.literal('completed'), output: z.string() }),
  z.strictObject({ type: z.literal('refused'), code: z.string() }),
  z.strictObject({ type: z.enum(['failed', 'cancelled', 'unavailable']) }),
]);

export const scenarioSchema = z.strictObject({
  $schema: z.string().optional(),
  name: z.string().regex(/^[a-z0-9-]+$/),
  /** A sentence of behaviour: the test's title. */
  title: z.string(),
  modes: z.array(z.enum(MODES)).default([...MODES]),
  /** Added to the world's gateway configuration (`runpurse.yaml`), key by key. */
  gateway: z.record(z.string(), z.unknown()).default({}),
  failure_policy: z.enum(['open', 'closed']).default('open'),
  agent: scenarioAgent,
  task: z.strictObject({
    input: z.string(),
    /** The framework's streaming way of running the agent. */
    stream: z.boolean().default(false),
    session_id: z.string(),
    workflow_id: z.string().optional(),
    customer_id: z.string().optional(),
  }),
  model_script: z.array(scriptedReply),
  actions: z
    .strictObject({
      /** The agent is cancelled once the model has received this many calls. */
      cancel_at_model_call: z.number().int().positive().optional(),
      /** The gateway is gone once the model has answered this many calls; 0: from the start. */
      gateway_down_after_model_calls: z.number().int().nonnegative().optional(),
      /** Reports arrive twice and in reverse order, and the first answer to each is lost on the way. */
      disturb_events: z.literal(true).optional(),
    })
    .default({}),
  /** Text that may be in prompts and tool results but in nothing the adapter reports and nothing the gateway keeps. */
  secrets: z.array(z.string()).default([]),
  expected: z.strictObject({
    outcome,
    /** Calls the scripted model saw. */
    model_calls: z.number().int(),
    /** Tools that really ran, in order; those that ran side by side by name. */
    tools_run: z.array(z.string()),
    /** `GET /v1/runs/{id}` normalized (normalize-run.ts); `null`: the gateway knows no such run; absent: not looked at. */
    run: z.record(z.string(), z.unknown()).nullable().optional(),
  }),
});
export type Scenario = z.output<typeof scenarioSchema>;
