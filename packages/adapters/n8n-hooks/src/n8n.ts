/** What n8n hands to its external hooks, as far as it is read here. Everything may be missing: n8n's data is not ours. */

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
  readonly name: string;
  readonly type: string;
  readonly parameters?: Readonly<Record<string, unknown>> | undefined;
}

export interface RunData {
  readonly status?: string | undefined;
  readonly data?:
    | {
        readonly resultData?:
          | {
              readonly error?: { readonly message?: string | undefined } | undefined;
              readonly runData?: Readonly<Record<string, readonly TaskData[]>> | undefined;
            }
          | undefined;
      }
    | undefined;
}

/** One run of a node. */
export interface TaskData {
  readonly startTime?: number | undefined;
  readonly executionTime?: number | undefined;
  readonly executionIndex?: number | undefined;
  readonly error?: { readonly message?: string | undefined } | undefined;
  /** By connection type: `main`, `ai_languageModel`, `ai_tool` … */
  readonly data?:
    Readonly<Record<string, readonly (readonly { readonly json?: Readonly<Record<string, unknown>> }[] | null)[]>> | undefined;
}
