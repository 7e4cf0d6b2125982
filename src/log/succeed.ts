import { type Identity, leafHash, sha256 } from '#crypto'
import { PoolError, signSuccession } from '#protocol'
import type { Sql, Tx } from '#storage'
import { type ActRow, actLeafData, insertAct } from './acts.ts'
import { latestCheckpoint } from './latest-checkpoint.ts'
import { appendTo, beginLog } from './log-stage.ts'
import { readCheckpoint, readOutsideCopy, writeOutsideCopy } from './outside-copy.ts'
import { successionAction } from './pool-keys.ts'
import { contains } from './refuse-behind.ts'

interface Heirs {
  readonly old: Identity
  readonly next: Identity
  /** Signs as well, where an admin does. */
  readonly admin?: Identity | undefined
  /** Milliseconds since 1970. */
  readonly now: number
  readonly actor: string
}

/**
 * Hands the log over to another key: the statement of the old one becomes an act and the first leaf of the next generation, whose checkpoint
 * the new one signs. Everything before stays. Returns the statement. @throws PoolError log_mismatch.
 */
export async function succeed(tx: Tx, { old, next, admin, now, actor }: Heirs): Promise<string> {
  const { head } = await beginLog(tx, [])
  const last = readCheckpoint(head.note, old.publicKey)
  if (last?.generation !== head.generation || last.size !== head.tree.size || !last.root.equals(head.tree.root()))
    throw new PoolError(
      'log_mismatch',
      "The head of the log is not what the pool's key signed last.",
      'Run `lichen audit` to see what was changed, and restore the database from a backup.',
    )
  const generation = last.generation + 1
  const note = signSuccession({ generation, last, at: Math.floor(now / 1_000) }, { old, next, admin })
  const details = { note, admin: admin ? sha256(admin.publicKey).toString('hex') : null }
  const [act] = await tx<ActRow[]>`
    ${insertAct(tx, { actor, action: successionAction, subject: `pool:${next.id}`, details })}
    returning seq, at, actor, action, subject, details, salt`
  if (!act) throw new Error('an act was not kept')
  const leaf = { kind: 'act', ref: String(act.seq), hash: leafHash(actLeafData(act)) }
  await appendTo({ ...head, generation }, [leaf], next).statement(tx)
  return note
}

/**
 * The copy outside the database becomes the newest checkpoint, by the new key, if the log goes on from what is there, by the old one.
 * @throws PoolError log_mismatch.
 */
export async function copyAfterSuccession(
  sql: Sql,
  dataDir: string,
  { old, next }: { readonly old: Buffer; readonly next: Buffer },
): Promise<void> {
  const latest = await latestCheckpoint(sql, next)
  // a run that was killed may have written it already
  const copy = await readOutsideCopy(dataDir, old).catch(() => readOutsideCopy(dataDir, next))
  if (copy && !(await contains(sql, copy)))
    throw new PoolError(
      'log_mismatch',
      'The log does not go on from the last checkpoint that was written down.',
      'Run `lichen audit` to see what was changed, and restore the database from a backup.',
    )
  await writeOutsideCopy(dataDir, latest.note)
}
