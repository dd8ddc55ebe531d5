import type { Authentication, Bundle, ZObject } from 'zapier-platform-core';
import { failurePolicyOf, read } from './attach.ts';

interface Scope {
  readonly workspace: { readonly id: string };
  readonly entity: { readonly type: string; readonly id: string } | null;
  readonly virtual_key: { readonly label: string };
}

/** Asks the gateway whose key this is: a wrong address, a wrong key and a gateway that is away are told apart. */
async function test(z: ZObject, bundle: Bundle): Promise<{ workspace: string; key: string; agent: string }> {
  failurePolicyOf(z, bundle);
  const scope = await read<Scope>(z, bundle, '/api/v1/cockpit/scope');
  if (typeof scope?.workspace?.id !== 'string')
    throw new z.errors.Error(
      'Something answers at this address, but it is not a Runpurse gateway. Check the address, without /v1.',
      'invalid_connection',
      400,
    );
  return { workspace: scope.workspace.id, key: scope.virtual_key.label, agent: scope.entity === null ? '' : ` (${scope.entity.id})` };
}

/** What `test` returned stands in inputData. */
function label(_z: ZObject, { inputData }: Bundle): string {
  return `${String(inputData['workspace'])}${String(inputData['agent'])}: ${String(inputData['key'])}`;
}

export const authentication: Authentication = {
  type: 'custom',
  test,
  connectionLabel: label as never,
  fields: [
    {
      key: 'base_url',
      label: 'Gateway Address',
      type: 'string',
      required: true,
      placeholder: 'https://runpurse.example.com',
      helpText: 'Where your Runpurse gateway listens. Zapier must be able to reach it: an address on your own machine does not work.',
    },
    {
      key: 'api_key',
      label: 'Virtual Key',
      type: 'password',
      required: true,
      helpText: 'Made with `runpurse keys create --workspace NAME`; it begins with rp_.',
    },
    {
      key: 'failure_policy',
      label: 'When the Gateway Can’t Be Reached',
      type: 'string',
      required: false,
      default: 'open',
      choices: {
        open: 'Go on without it, and say so',
        closed: 'Stop the step: no call is made that nobody counts',
      },
      helpText: 'A model call that goes through the gateway fails without it either way.',
    },
  ],
};
