import type { Bundle, Trigger, ZObject } from 'zapier-platform-core';
import { runShape, verifyWebhook } from '@runpurse/core';
import { call } from '../attach.ts';
import { cached } from '../cache.ts';
import { idOf } from '../inputs.ts';
import { keyOf, noticeRow, type Notice } from '../translate.ts';

/** Triggers on the gateway's notices. */

/** A notice told twice (the gateway sends at least once) starts the Zap once: its id is remembered this long. */
const REMEMBERED_S = 3 * 24 * 3_600;
/** Zapier may let a hook wait before the step runs. A copy sent on purpose within this time is known by its id. */
const LATE_S = 2 * 24 * 3_600;
const LISTED = 100;
/** Zapier polls every 1 to 15 minutes and knows by their ids what it had; this many pages of notices fit in between. */
const PAGES = 5;
const SAMPLES = 3;

type Row = ReturnType<typeof noticeRow>;

interface Told {
  readonly key: string;
  readonly noun: string;
  readonly label: string;
  readonly description: string;
  readonly event: 'run.ended' | 'budget.threshold' | 'call.refused';
  readonly sample: Readonly<Record<string, unknown>>;
  readonly outputFields: readonly object[];
  /** Fields beside workflow and agent. */
  readonly inputFields?: readonly object[];
  /** What the gateway doesn't narrow, narrowed here; throws for a filter that can't be read. */
  readonly wanted?: (z: ZObject, input: Bundle['inputData']) => (row: Readonly<Record<string, unknown>>) => boolean;
}

/** The trigger as a REST hook, and as its fallback by polling; both give the same rows with the same ids. */
export function noticeTriggers({ event, wanted = () => () => true, ...told }: Told): readonly [Trigger, Trigger] {
  const subscribe = async (z: ZObject, bundle: Bundle): Promise<object> => {
    // Told when the Zap is turned on, not by every notice.
    wanted(z, bundle.inputData);
    const { body } = await call(z, bundle, {
      method: 'POST',
      path: '/v1/webhooks',
      body: {
        url: bundle.targetUrl,
        events: [event],
        ...placeOf(z, bundle),
        description: `Zapier: ${told.label}`,
      },
    });
    return JSON.parse(body) as object;
  };

  const unsubscribe = async (z: ZObject, bundle: Bundle): Promise<object> => {
    const id = bundle.subscribeData?.id;
    // Gone already: the Zap is off all the same.
    if (id !== undefined) await call(z, bundle, { method: 'DELETE', path: `/v1/webhooks/${encodeURIComponent(id)}` }, 404);
    return {};
  };

  const receive = async (z: ZObject, bundle: Bundle): Promise<object[]> => {
    const refusal = forgery(bundle);
    if (refusal !== undefined) throw new z.errors.HaltedError(`A call to this Zap's address is not from your gateway: ${refusal}.`);
    const notice = bundle.cleanedRequest as Notice | undefined;
    if (notice?.type !== event || typeof notice.id !== 'string' || !tellsOf(notice)) return [];
    const row = noticeRow(notice);
    if (!wanted(z, bundle.inputData)(row) || (await wasTold(z, bundle, notice.id))) return [];
    return [row];
  };

  const list = async (z: ZObject, bundle: Bundle): Promise<object[]> => {
    const isSample = bundle.meta?.isLoadingSample === true;
    const isWanted = wanted(z, bundle.inputData);
    const query = new URLSearchParams({ type: event, limit: String(isSample ? SAMPLES : LISTED), ...placeOf(z, bundle) });
    const rows: Row[] = [];
    for (let page = 1; ; page += 1) {
      const { body } = await call(z, bundle, { method: 'GET', path: `/v1/notices?${query.toString()}` });
      const { data, next } = JSON.parse(body) as { readonly data: readonly Notice[]; readonly next: string | null };
      rows.push(...data.map(noticeRow).filter(isWanted));
      if (isSample || next === null || page >= PAGES) return rows;
      query.set('after', next);
    }
  };

  const shown = {
    inputFields: [
      {
        key: 'workflow',
        label: 'Workflow',
        type: 'string',
        required: false,
        dynamic: 'list_workflows.id.label',
        helpText: 'Left empty, of all.',
      },
      { key: 'agent', label: 'Agent', type: 'string', required: false, dynamic: 'list_agents.id.label', helpText: 'Left empty, of all.' },
      ...((told.inputFields ?? []) as []),
    ],
    sample: told.sample,
    outputFields: told.outputFields as [],
  };
  const hook = {
    key: told.key,
    noun: told.noun,
    display: { label: told.label, description: told.description },
    operation: {
      ...shown,
      type: 'hook',
      performSubscribe: subscribe,
      performUnsubscribe: unsubscribe,
      perform: receive,
      performList: list,
    },
  };
  const polled = {
    key: `${told.key}_polled`,
    noun: told.noun,
    display: {
      label: `${told.label} (Polled)`,
      description: `${told.description.slice(0, -1)}. Asks every few minutes, for a gateway that may not call Zapier.`,
    },
    operation: { ...shown, type: 'polling', perform: list, canPaginate: false },
  };
  return [hook as unknown as Trigger, polled as unknown as Trigger];
}

/** Where no signature could be checked anybody may have sent it. */
function tellsOf({ type, data }: Notice): boolean {
  if (type === 'run.ended') return data?.['run'] === null || runShape.safeParse(data?.['run']).success;
  const about: unknown = type === 'budget.threshold' ? data?.['budget'] : data;
  return typeof about === 'object' && about !== null;
}

/** Of which workflow and agent the gateway shall tell. */
function placeOf(z: ZObject, { inputData }: Bundle): { readonly workflow?: string; readonly agent?: string } {
  const [workflow, agent] = [idOf(z, inputData, 'workflow', 'Workflow'), idOf(z, inputData, 'agent', 'Agent')];
  return { ...(workflow === undefined ? {} : { workflow }), ...(agent === undefined ? {} : { agent }) };
}

/** Why a delivery is not the gateway's. Checked where Zapier hands over the secret and the body as received. */
function forgery({ subscribeData, rawRequest }: Bundle): string | undefined {
  const secret = (subscribeData as { readonly secret?: unknown } | undefined)?.secret;
  if (typeof secret !== 'string' || rawRequest === undefined) return undefined;
  // Zapier writes `Http-Webhook-Id` for what arrived as `webhook-id` (zapier/zapier-platform, issue 290).
  const headers = Object.fromEntries(
    Object.entries(rawRequest.headers ?? {}).map(([name, value]) => [name.toLowerCase().replace(/^http-/, ''), value]),
  );
  const verdict = verifyWebhook({ secret, headers, body: rawRequest.content ?? '', now: Date.now(), toleranceSeconds: LATE_S });
  return verdict.type === 'refused' ? verdict.reason : undefined;
}

/** Zapier runs a hook each time it is called. Without its cache a notice told twice starts the Zap twice, which beats not at all. */
async function wasTold(z: ZObject, bundle: Bundle, noticeId: string): Promise<boolean> {
  const key = `told_${keyOf(bundle.subscribeData?.id ?? bundle.targetUrl, bundle.authData['base_url'], noticeId)}`;
  if (((await cached(z, (cache) => cache.get(key))) ?? null) !== null) return true;
  await cached(z, (cache) => cache.set(key, 1, REMEMBERED_S));
  return false;
}
