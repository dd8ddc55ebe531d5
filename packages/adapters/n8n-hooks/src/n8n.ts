/** What n8n hands to its external hooks, as far as it is read here. Everything may be missing: n8n's data is not ours. */

export type Json = Readonly<Record<string, unknown>>;

export interface WorkflowData {
  readonly id?: string | undefined;
  readonly name?: string | undefined;
  readonly nodes?: readonly NodeData[] | Readonly<Record<string, NodeData>> | undefined;
  /** By the node they come from; `connections[from].ai_languageModel[0][0].node` is the agent a model belongs to. */
  readonly connections?: Readonly<Record<string, Readonly<Record<string, readonly (readonly Connection[] | null)[]>>>> | undefined;
}

export interface Connection {
  readonly node: string;
}

export interface NodeData {
  readonly id?: string | undefined;
  readonly name: string;
  readonly type: string;
  readonly parameters?: Json | undefined;
  /** By type; what is in a credential is not told. */
  readonly credentials?:
    Readonly<Record<string, { readonly id?: string | null | undefined; readonly name?: string | undefined }>> | undefined;
  readonly disabled?: boolean | undefined;
  readonly retryOnFail?: boolean | undefined;
  readonly onError?: string | undefined;
}

export interface RunData {
  readonly status?: string | undefined;
  readonly mode?: string | undefined;
  /** When this stretch of the execution began: a resumed one began anew. */
  readonly startedAt?: Date | string | undefined;
  readonly data?:
    | {
        readonly resultData?:
          | {
              readonly error?: { readonly message?: string | undefined; readonly isRunpurseRefusal?: unknown } | undefined;
              readonly runData?: Readonly<Record<string, readonly TaskData[]>> | undefined;
              /** Outputs kept in the editor, by node: such a node does not run. */
              readonly pinData?: Json | undefined;
            }
          | undefined;
      }
    | undefined;
}

/** One run of a node. */
export interface TaskData {
  /** 0 until the node runs: n8n puts down an agent's tools before it runs them. */
  readonly startTime?: number | undefined;
  readonly executionTime?: number | undefined;
  readonly executionIndex?: number | undefined;
  readonly executionStatus?: string | undefined;
  readonly error?: { readonly message?: string | undefined } | undefined;
  readonly source?: readonly ({ readonly previousNode?: string; readonly previousNodeRun?: number | undefined } | null)[] | undefined;
  /** What the model calls of the run used in all, over its items and tries. */
  readonly metadata?: { readonly tokenUsage?: { readonly inputTokens?: unknown; readonly outputTokens?: unknown } | undefined } | undefined;
  /** What went into a model or tool that an agent used. */
  readonly inputOverride?: Outputs | undefined;
  readonly data?: Outputs | undefined;
}

/** By connection type: `main`, `ai_languageModel`, `ai_tool` …; of each, the outputs and their items. */
export type Outputs = Readonly<Record<string, readonly (readonly Item[] | null)[]>>;

export interface Item {
  readonly json?: Json;
}
