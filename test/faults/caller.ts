import { parseUsd, type Nanos } from '@runpurse/core';
import { Agent, request } from 'undici';
import type { GatewayProcess } from './gateway-process.ts';
import { FAULT_MODEL } from './provider.ts';

/** What a client knows of a call when it has ended for it. */
export type Outcome =
  /** A whole reply with its cost. */
  | { readonly type: 'answered'; readonly requestId: string; readonly cost: Nanos }
  /** The gateway said no, or failed. */
  | { readonly type: 'refused'; readonly status: number; readonly code: string }
  /** No whole reply: the gateway was killed. */
  | { readonly type: 'lost' };

export interface Call {
  readonly runId: string;
  readonly nonce: string;
  readonly maxTokens: number;
  readonly prompt?: string;
}

const TIMEOUT_MS = 30_000;

/** A client of one gateway process; its connections end with it. */
export class Caller {
  readonly #gateway: GatewayProcess;
  readonly #agent = new Agent({ connections: 512, pipelining: 1 });

  constructor(gateway: GatewayProcess) {
    this.#gateway = gateway;
  }

  async call(call: Call): Promise<Outcome> {
    try {
      const { statusCode, headers, body } = await request(`${this.#gateway.url}/v1/chat/completions`, {
        method: 'POST',
        dispatcher: this.#agent,
        headersTimeout: TIMEOUT_MS,
        bodyTimeout: TIMEOUT_MS,
        headers: { 'content-type': 'application/json', authorization: `Bearer ${this.#gateway.key}`, 'alephant-run-id': call.runId },
        body: JSON.stringify({
          model: FAULT_MODEL,
          max_tokens: call.maxTokens,
          messages: [{ role: 'user', content: `${call.nonce} ${call.prompt ?? ''}` }],
        }),
      });
      const text = await body.text();
      if (statusCode !== 200) {
        const { error } = JSON.parse(text) as { error: { code: string } };
        return { type: 'refused', status: statusCode, code: error.code };
      }
      const cost = parseUsd(String(headers['x-runpurse-request-cost-usd']));
      if (cost === undefined) throw new Error(`A reply without its cost: ${JSON.stringify(headers)}`);
      return { type: 'answered', requestId: String(headers['x-runpurse-request-id']), cost };
    } catch (error) {
      // Not `instanceof Error`: under jest the socket's errors are of another realm.
      if (typeof error === 'object' && error !== null && 'code' in error) return { type: 'lost' };
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }
}
