import type { StoredBudget, StoredKey } from '../store.ts';
import type { Database } from './database.ts';

/** Keys and budgets in `admin.db`, for whoever holds a connection to it: the store, its writer and the command line. */
export interface AdminTables {
  keys(): readonly StoredKey[];
  keyByHash(hash: string): StoredKey | undefined;
  keyById(keyId: string): StoredKey | undefined;
  budgets(): readonly StoredBudget[];
}

export interface AdminWrites {
  putKey(key: StoredKey): void;
  putBudget(budget: StoredBudget): void;
  deleteBudget(budgetId: string): boolean;
}

export function readAdminTables(database: Database): AdminTables {
  const keys = database.prepare<[], string>('SELECT body FROM virtual_key ORDER BY rowid').pluck();
  const byHash = database.prepare<[string], string>('SELECT body FROM virtual_key WHERE hash = ?').pluck();
  const byId = database.prepare<[string], string>('SELECT body FROM virtual_key WHERE key_id = ?').pluck();
  const budgets = database.prepare<[], string>('SELECT body FROM budget ORDER BY rowid').pluck();
  return {
    keys: () => keys.all().map(parseKey),
    keyByHash(hash) {
      const body = byHash.get(hash);
      return body === undefined ? undefined : parseKey(body);
    },
    keyById(keyId) {
      const body = byId.get(keyId);
      return body === undefined ? undefined : parseKey(body);
    },
    budgets: () => budgets.all().map((body) => JSON.parse(body) as StoredBudget),
  };
}

export function writeAdminTables(database: Database): AdminWrites {
  const putKey = database.prepare(
    'INSERT INTO virtual_key (key_id, hash, body) VALUES (?, ?, ?) ON CONFLICT (key_id) DO UPDATE SET hash = excluded.hash, body = excluded.body',
  );
  const putBudget = database.prepare(
    'INSERT INTO budget (budget_id, body) VALUES (?, ?) ON CONFLICT (budget_id) DO UPDATE SET body = excluded.body',
  );
  const deleteBudget = database.prepare('DELETE FROM budget WHERE budget_id = ?');
  return {
    putKey(key) {
      putKey.run(key.keyId, key.hash, JSON.stringify(key));
    },
    putBudget(budget) {
      putBudget.run(budget.budgetId, JSON.stringify(budget));
    },
    deleteBudget: (budgetId) => deleteBudget.run(budgetId).changes > 0,
  };
}

/** JSON leaves absent fields out; the type names them. */
function parseKey(body: string): StoredKey {
  const key = JSON.parse(body) as StoredKey;
  return {
    keyId: key.keyId,
    hash: key.hash,
    prefix: key.prefix,
    workspaceId: key.workspaceId,
    agentId: key.agentId,
    memberId: key.memberId,
    label: key.label,
    admin: key.admin,
    createdAt: key.createdAt,
    revokedAt: key.revokedAt,
  };
}
