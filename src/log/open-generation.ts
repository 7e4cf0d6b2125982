import { leafHash, sha256 } from '#crypto'
import { PoolError } from '#protocol'
import type { Database, Tx } from '#storage'
import { type ActRow, actLeafData, insertAct } from './acts.ts'
import { type GenerationStatement, isGenerationSigned } from './generation-statement.ts'
import { latestCheckpoint } from './latest-checkpoint.ts'
import { appendTo, beginIfNew, beginLog, type LogSigner } from './log-stage.ts'
import { newerThan, readOutsideCopy, writeOutsideCopy } from './outside-copy.ts'
import { generationAction } from './refuse-behind.ts'

/** A log that is not open. */
export interface ClosedLog {
  readonly database: Pick<Database, 'sql' | 'transaction'>
  readonly signer: LogSigner
  readonly dataDir: string
}

/**
 * What an admin has to sign so that the log may go on from a database that is behind the outside copy; undefined when it
 * is not behind.
 * @throws PoolError log_mismatch.
 */
export async function describeLoss({ database, signer, dataDir }: ClosedLog): Promise<GenerationStatement | undefined> {
  await database.transaction((tx) => beginIfNew(tx, signer))
  const copy = await readOutsideCopy(dataDir, signer.publicKey)
  const latest = await latestCheckpoint(database.sql, signer.publicKey)
  if (!copy || !newerThan(copy, latest)) return undefined
  const poolId = sha256(signer.publicKey).toString('hex')
  return { poolId, generation: copy.generation + 1, size: latest.size, last: copy }
}

/**
 * Opens the next generation: the admin's statement becomes an act and the first leaf, its checkpoint the outside copy.
 * `note` is the statement of {@link describeLoss}, signed (see `signGeneration`). That `adminKey` is an admin's, the
 * caller has checked.
 * @throws PoolError conflict when nothing is lost or the note says something else.
 */
export async function openGeneration(log: ClosedLog, note: string, adminKey: Buffer): Promise<string> {
  const statement = await describeLoss(log)
  if (!statement) throw new PoolError('conflict', 'The log is not behind.', 'Start the pool.')
  if (!isGenerationSigned(note, statement, adminKey)) {
    throw new PoolError('conflict', 'The note is not the signed statement about this loss.', 'Sign it again.')
  }
  const checkpoint = await log.database.transaction((tx) => continueLog(tx, log.signer, statement, note, adminKey))
  await writeOutsideCopy(log.dataDir, checkpoint)
  return checkpoint
}

async function continueLog(
  tx: Tx,
  signer: LogSigner,
  statement: GenerationStatement,
  note: string,
  adminKey: Buffer,
): Promise<string> {
  const { head } = await beginLog(tx, [])
  if (head.tree.size !== statement.size) throw new Error('the log grew while its generation was opened')
  const key = adminKey.toString('hex')
  const [act] = await tx<ActRow[]>`
    ${insertAct(tx, { actor: `admin:${sha256(adminKey).toString('hex')}`, action: generationAction, subject: String(statement.generation), details: { key, note } })}
    returning seq, at, actor, action, subject, details, salt`
  if (!act) throw new Error('an act was not kept')
  const leaf = { kind: 'act', ref: String(act.seq), hash: leafHash(actLeafData(act)) }
  const next = appendTo({ ...head, generation: statement.generation }, [leaf], signer)
  await next.statement(tx)
  return next.note
}
