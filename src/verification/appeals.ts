import { sha256 } from '#crypto'
import { insertAct } from '#log'
import { decodeSigned, PoolError, SignatureChecker } from '#protocol'
import type { Runtime } from '#runtime'
import { type Database, fromDatabase, type Tx } from '#storage'
import { aloneWith } from './alone-with.ts'
import { verificationLimits } from './limits.ts'
import type { Standings } from './standings.ts'

/** What a worker says for itself, and what became of it. Times in milliseconds since 1970. */
export interface AppealRecord {
  readonly id: string
  readonly workerId: string
  readonly statement: string
  readonly evidence: string | null
  readonly openedAt: number
  readonly outcome: 'granted' | 'refused' | null
  readonly because: string | null
  readonly decidedBy: string | null
  readonly decidedAt: number | null
}

export interface AppealsOptions {
  readonly database: Database
  readonly runtime: Runtime
  /** 32 raw bytes. */
  readonly poolId: Buffer
  readonly standings: Pick<Standings, 'reset'>
  /** Whether its operator, or the worker itself, is blocked. */
  readonly isBlocked: (tx: Tx, workerId: string) => Promise<boolean>
  /** Lifts its block, and that of its operator unless one of these, who stay convicted, belongs to it, too. */
  readonly unblock: (tx: Tx, workerId: string, convicted: readonly string[], by: string) => Promise<void>
}

interface Row extends Omit<AppealRecord, 'statement' | 'evidence'> {
  readonly wire: Buffer
}

interface Ruling {
  readonly granted: boolean
  readonly because: string
  readonly by: string
}

/**
 * A convicted worker speaks for itself, signed with its key; an admin decides, once.
 *
 *   open ──▶ granted     its standing is that of a newcomer, blocks are lifted, what was taken from it goes back
 *       └──▶ refused
 *
 * Both acts stand in the transparency log, the first with the hash of what was signed.
 */
export class Appeals {
  readonly #o: AppealsOptions
  readonly #checker = new SignatureChecker()

  constructor(options: AppealsOptions) {
    this.#o = options
  }

  /** The same bytes again are answered again. @throws PoolError signature_refused, not_found, conflict, database_unavailable. */
  async submit(wire: Buffer): Promise<AppealRecord> {
    const decoded = decodeSigned(wire, 'appeal/1')
    if (!decoded.ok) throw refused(`cannot be read: ${decoded.problem}`)
    const { message, signature, hash } = decoded.signed
    const workerId = message.worker.toString('hex')
    if (!message.pool.equals(this.#o.poolId)) throw refused('is meant for another pool')
    if (!sha256(signature.key).equals(message.worker)) throw refused('is not signed by the worker it speaks for')
    if (!this.#checker.verify(signature, hash)) throw refused('carries a signature that does not verify')
    return this.#o.database.transaction(async (tx) => {
      await lockWorker(tx, workerId)
      const [known] = await rows(tx, message.id)
      if (known?.wire.equals(wire)) return toRecord(known)
      if (known) throw new PoolError('conflict', 'Another appeal has this id.', 'Make a new one.')
      await this.#refuseNeedless(tx, workerId)
      await tx`
        insert into appeals (id, worker_id, wire, opened_at)
        values (${message.id}, ${workerId}, ${wire}, ${this.#o.runtime.now()}::timestamptz)`
      const details = { appeal: message.id, sha256: sha256(wire).toString('hex') }
      await insertAct(tx, {
        actor: `worker:${workerId}`,
        action: 'worker.appeal',
        subject: `worker:${workerId}`,
        details,
      })
      const [row] = await rows(tx, message.id)
      if (!row) throw new Error('an appeal that was just written is gone')
      return toRecord(row)
    })
  }

  /** By id, oldest first. @throws PoolError database_unavailable. */
  async list({
    after,
    limit,
  }: {
    readonly after?: string | undefined
    readonly limit: number
  }): Promise<AppealRecord[]> {
    const { sql } = this.#o.database
    const found = await fromDatabase(sql<Row[]>`
      select ${sql.unsafe(columns)} from appeals
       where id > ${after ?? '00000000-0000-0000-0000-000000000000'}::uuid order by id limit ${limit}`)
    return found.map(toRecord)
  }

  /** Once for good. Nothing that was decided against the worker is being carried out meanwhile. @throws PoolError not_found, conflict. */
  async decide(id: string, ruling: Ruling): Promise<AppealRecord> {
    const { database } = this.#o
    const [known] = await fromDatabase(database.sql<{ workerId: string }[]>`
      select worker_id as "workerId" from appeals where id::text = ${id.toLowerCase()}`)
    return aloneWith(database, known?.workerId ?? '', () => this.#decide(id, ruling))
  }

  #decide(id: string, { granted, because, by }: Ruling): Promise<AppealRecord> {
    return this.#o.database.transaction(async (tx) => {
      const [row] = await rows(tx, id)
      if (!row) throw new PoolError('not_found', `There is no appeal ${id}.`, 'See `lichen workers appeals`.')
      if (row.outcome !== null) {
        throw new PoolError('conflict', `Appeal ${id} was ${row.outcome} before.`, 'A decision stands.')
      }
      const now = this.#o.runtime.now()
      await tx`
        update appeals set outcome = ${granted ? 'granted' : 'refused'}, because = ${because}, decided_by = ${by},
               decided_at = ${now}::timestamptz
         where id = ${id}`
      const action = granted ? 'worker.appeal_granted' : 'worker.appeal_refused'
      await insertAct(tx, { actor: by, action, subject: `worker:${row.workerId}`, details: { appeal: id, because } })
      if (granted) await this.#grant(tx, row, by, now)
      const [after] = await rows(tx, id)
      if (!after) throw new Error('an appeal that was just decided is gone')
      return toRecord(after)
    })
  }

  /** Money goes back by a due act: it is done once, and again after a crash. */
  async #grant(tx: Tx, { id, workerId }: Row, by: string, now: number): Promise<void> {
    const { runtime, standings, unblock } = this.#o
    await standings.reset(tx, workerId)
    const others = await tx<{ id: string }[]>`
      select distinct worker_id as id from standings where phase = 'convicted' limit ${verificationLimits.convictedReadMax}`
    await unblock(
      tx,
      workerId,
      others.map((one) => one.id),
      by,
    )
    await tx`
      insert into standing_acts (id, worker_id, model, duty, act, because, decided_at, step)
      values (${runtime.uuid()}, ${workerId}, '*', 'serve', 'pay_back', ${id}, ${now}::timestamptz, 0)`
  }

  async #refuseNeedless(tx: Tx, workerId: string): Promise<void> {
    const [known] = await tx<{ appeals: number; open: number }[]>`
      select count(*)::int as appeals, (count(*) filter (where outcome is null))::int as open from appeals
       where worker_id = ${workerId}`
    if ((known?.open ?? 0) > 0) {
      throw new PoolError('conflict', 'An appeal of this worker is open.', 'Wait until an admin has decided.')
    }
    if ((known?.appeals ?? 0) >= verificationLimits.appealsMax) {
      const message = `This worker has appealed ${verificationLimits.appealsMax} times.`
      throw new PoolError('conflict', message, 'Ask an admin of the pool in person.')
    }
    const [accused] = await tx`
      select from standings where worker_id = ${workerId} and phase in ('frozen', 'convicted') limit 1`
    if (accused || (await this.#o.isBlocked(tx, workerId))) return
    throw new PoolError('conflict', 'Nothing was decided against this worker.', 'There is nothing to appeal.')
  }
}

const columns = `id, worker_id as "workerId", wire, opened_at as "openedAt", outcome, because, decided_by as "decidedBy",
  decided_at as "decidedAt"`

async function rows(tx: Tx, id: string): Promise<readonly Row[]> {
  return tx<Row[]>`select ${tx.unsafe(columns)} from appeals where id::text = ${id.toLowerCase()} for update`
}

/** One appeal of a worker at a time, and none of strangers. @throws PoolError not_found. */
async function lockWorker(tx: Tx, workerId: string): Promise<void> {
  const known = await tx`select from worker_keys where id = ${workerId} for update`
  if (known.length > 0) return
  throw new PoolError('not_found', 'The pool does not know this worker.', 'Appeal with the key that was convicted.')
}

function toRecord({ wire, ...row }: Row): AppealRecord {
  const decoded = decodeSigned(wire, 'appeal/1')
  if (!decoded.ok) throw new Error(`appeal ${row.id} cannot be read: ${decoded.problem}`)
  const { statement, evidence } = decoded.signed.message
  return { ...row, statement, evidence }
}

function refused(why: string): PoolError {
  return new PoolError('signature_refused', `The appeal ${why}.`, 'Send it with `lichen worker appeal`.')
}
