import { canonicalize, sha256 } from '#crypto'
import type { Sql } from '#storage'
import { logLimits } from './limits.ts'

/** Who did what, with special rights, to whom or what. */
export interface Act {
  /** `owner.key`, `key:<id>`, `admin:<key id>`, `worker`, … */
  readonly actor: string
  /** A noun and a verb: `user.create`, `ledger.grant`. */
  readonly action: string
  /** Id of what it was done to; may be empty. */
  readonly subject: string
  /** Names, amounts (as strings) and ids. Never content, never a secret. */
  readonly details?: Readonly<Record<string, unknown>>
}

/** An act as it is kept. */
export interface ActRow extends Required<Act> {
  readonly seq: bigint
  /** Milliseconds since 1970, the database's clock. */
  readonly at: number
  /** 32 bytes. */
  readonly salt: Buffer
}

/**
 * The statement that keeps an act. Await it inside the transaction of the deed, or put it into the deed's own statement:
 * `` sql`with act as (${insertAct(sql, act)}) update …` ``. Its leaf follows within a second of the commit.
 * Throws when the details are longer than {@link logLimits.actDetailsCharsMax}: our bug.
 */
export function insertAct(sql: Sql, { actor, action, subject, details = {} }: Act) {
  const json = canonicalize(details).toString()
  if (json.length > logLimits.actDetailsCharsMax) throw new RangeError(`details of ${action} are too long for an act`)
  return sql`
    insert into acts (actor, action, subject, details)
    values (${actor}::text, ${action}::text, ${subject}::text, ${json}::text::jsonb)`
}

/** Columns of {@link ActRow}. */
export const actColumns = (sql: Sql) => sql`a.seq, a.at, a.actor, a.action, a.subject, a.details, a.salt`

const actTag = Buffer.from('lichen/act/1\n')

/** What the leaf of an act commits to: a salted hash of the row, so that it tells nothing without it (spec/log.md). */
export function actLeafData({ seq, at, actor, action, subject, details, salt }: ActRow): Buffer {
  const json = canonicalize({ seq: Number(seq), at, actor, action, subject, details })
  return Buffer.concat([actTag, sha256(salt, json)])
}
