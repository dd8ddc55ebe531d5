/** What a rule's `when` can speak of. Absent things are null, never missing, so a typo fails and a blank does not. */
export interface PolicyFacts {
  readonly agent: { readonly id: string | null; readonly name: string | null };
  readonly run: { readonly id: string | null; readonly status: string | null; readonly runtime_s: number };
  readonly session: { readonly id: string | null };
  readonly workflow: { readonly id: string | null };
  readonly tool: { readonly name: string | null; readonly price_usd: number | null };
  readonly model: { readonly name: string | null };
  readonly provider: { readonly name: string | null };
  readonly endpoint: { readonly id: string | null };
  readonly member: { readonly id: string | null };
  readonly workspace: { readonly id: string };
  readonly customer: { readonly id: string | null };
  /** Dollars as doubles, for comparisons only; no amount is ever booked from here. */
  readonly cost: { readonly request_max_usd: number | null; readonly run_usd: number; readonly session_usd: number };
  readonly counts: {
    readonly requests: number;
    readonly tool_calls: number;
    readonly retries: number;
    readonly steps: number;
    readonly attempt: number;
  };
  readonly time: { readonly hour: number; readonly weekday: number; readonly iso: string };
}

export type PolicyPhase = 'model_request' | 'tool_call' | 'run_update' | 'endpoint_call';

/** One rule that matched, in the order of precedence: block beats approval beats audit beats allow; skip logs nothing more. */
export interface RuleMatch {
  readonly rule: string;
  readonly revision: string;
  readonly effect: 'allow' | 'block' | 'audit' | 'skip';
  readonly reason: string;
}

export type PolicyVerdict =
  | { readonly type: 'allowed'; readonly matches: readonly RuleMatch[] }
  | { readonly type: 'denied'; readonly by: RuleMatch; readonly matches: readonly RuleMatch[] };

/** The compiled rules. Pure and synchronous: it is asked on the model path, before anything is held. */
export interface Policy {
  evaluate(phase: PolicyPhase, facts: PolicyFacts): PolicyVerdict;
  /** True when any rule or gate could deny this tool or model: an event about it can't dodge the question. */
  gates(phase: PolicyPhase): boolean;
  /** False: no rule for this phase, facts need not be built. */
  hasRules(phase: PolicyPhase): boolean;
}
