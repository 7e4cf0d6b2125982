import { insertAct } from '#log'
import type { Tx } from '#storage'

/** What was done to whom, for the log of acts. Never holds a secret. */
export interface Act {
  /** A noun and a verb: `user.create`, `key.revoke`. */
  readonly action: string
  /** Id of what it was done to, with its kind: `user:<uuid>`, `key:<uuid>`, `worker:<hex>` … */
  readonly subject: string
  readonly details?: Readonly<Record<string, string | number | boolean | null | readonly string[]>>
}

/** Adds an act inside the transaction of what it tells: both are there, or neither. */
export async function recordAct(tx: Tx, actor: string, act: Act): Promise<void> {
  await insertAct(tx, { actor, ...act })
}
