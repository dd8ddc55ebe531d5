import { randomBytes } from 'node:crypto';
import type { Ids } from '../gateway.ts';
import { hashSecret } from '../identify/index.ts';
import type { StoredKey } from '../store/store.ts';

export interface KeyOwner {
  readonly workspaceId: string;
  readonly agentId?: string | undefined;
  readonly memberId?: string | undefined;
  readonly label?: string | undefined;
  readonly admin: boolean;
}

const SECRET_BYTES = 32;
const PREFIX_LENGTH = 10;

/** A new virtual key. The secret is shown once and never stored: only its hash is. */
export function mintKey(owner: KeyOwner, ids: Ids, now: number): { readonly secret: string; readonly stored: StoredKey } {
  const secret = `rp_${randomBytes(SECRET_BYTES).toString('base64url')}`;
  return {
    secret,
    stored: {
      keyId: ids.next('key'),
      hash: hashSecret(secret),
      prefix: secret.slice(0, PREFIX_LENGTH),
      workspaceId: owner.workspaceId,
      agentId: owner.agentId,
      memberId: owner.memberId,
      label: owner.label,
      admin: owner.admin,
      createdAt: now,
      revokedAt: undefined,
    },
  };
}
