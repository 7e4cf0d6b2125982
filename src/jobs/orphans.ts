import { type LedgerOp, ledgerStage, transferLeaf } from '#ledger'
import { decodeSigned, encode, encodeMessage, epochOf, type PoolStatement, receiptLeafData } from '#protocol'
import type { Runtime } from '#runtime'
import { type GroupCommit, type Operation, part, type Sql } from '#storage'
import type { JobEvents } from './events.ts'
import { jobsLimits } from './limits.ts'
import { receiptStage } from './order-stages.ts'
import type { Books } from './settlement.ts'

interface Orphan {
  readonly id: string
  readonly state: PoolStatement['state']
  readonly digest: string | null
  readonly acceptedAt: number
  readonly endedAt: number
  readonly order: Buffer
  readonly workers: readonly string[]
}

/**
 * Jobs that ended without their books being closed: their pool process died, or the database was away. The hold is voided and a receipt
 * says that nothing is owed. What was relayed before the crash nobody can prove any more, so nobody pays for it.
 */
export class Orphans {
  readonly #sql: Sql
  readonly #runtime: Runtime
  readonly #commit: Pick<GroupCommit, 'submit'>
  readonly #books: Books
  readonly #events: JobEvents
  #releasing: Promise<void> | undefined
  #sweptAt = 0

  constructor(sql: Sql, runtime: Runtime, commit: Pick<GroupCommit, 'submit'>, books: Books, events: JobEvents) {
    this.#sql = sql
    this.#runtime = runtime
    this.#commit = commit
    this.#books = books
    this.#events = events
  }

  /** Called often; looks every {@link jobsLimits.holdSweepMs}. A failure is tried again by the next look. */
  sweep(): void {
    const now = this.#runtime.monotonic()
    if (this.#releasing || now - this.#sweptAt < jobsLimits.holdSweepMs) return
    this.#sweptAt = now
    this.#releasing = this.release()
      .catch(() => {})
      .finally(() => {
        this.#releasing = undefined
      })
  }

  async settled(): Promise<void> {
    await this.#releasing
  }

  async release(): Promise<void> {
    for (;;) {
      const orphans = await this.#find()
      const outcomes = await Promise.all(orphans.map((orphan) => this.#commit.submit(this.#closing(orphan))))
      const holds = outcomes.filter((outcome) => outcome.applied).length
      if (holds > 0) this.#events.holdsReleased?.({ holds })
      if (holds < jobsLimits.orphansPerLook) break
    }
    await this.#expire()
  }

  /** Holds whose time is over and that no open job will settle. */
  async #expire(): Promise<void> {
    const now = this.#runtime.now()
    const rows = await this.#sql<{ id: string }[]>`
      select h.id from holds h
       where h.expires_at <= ${now}::timestamptz
         and not exists (select 1 from jobs j where j.id = h.id and j.ended_at is null)
       order by h.id limit ${jobsLimits.orphansPerLook}`
    const { logStage, uuid } = this.#books
    const expired = rows.map(({ id }): LedgerOp => ({ op: 'expire', id: uuid(), hold: id, at: now }))
    const outcomes = await Promise.all(
      expired.map((op) =>
        this.#commit.submit([
          part(ledgerStage, op),
          part(logStage, { kind: 'transfer', ref: op.id, data: transferLeaf(op) }),
        ]),
      ),
    )
    const holds = outcomes.filter((outcome) => outcome.applied).length
    if (holds > 0) this.#events.holdsReleased?.({ holds })
  }

  /** Hold and job are written together, so that an ended job with an open hold is one whose end was written by somebody else. */
  #find(): Promise<Orphan[]> {
    return this.#sql<Orphan[]>`
      select j.id, j.state, j.digest, j.accepted_at as "acceptedAt", j.ended_at as "endedAt", o.wire as "order",
             array(select distinct worker_id from segments s where s.job_id = j.id) as workers
        from holds h join jobs j on j.id = h.id join orders o on o.job_id = j.id
       where j.ended_at is not null
       order by j.id limit ${jobsLimits.orphansPerLook}`
  }

  #closing(orphan: Orphan): Operation {
    const { logStage, uuid } = this.#books
    const op: LedgerOp = { op: 'void', id: uuid(), hold: orphan.id, at: this.#runtime.now() }
    const statement = encodeMessage('pool-statement/1', this.#statement(orphan))
    return [
      part(ledgerStage, op),
      part(receiptStage, { jobId: orphan.id, workers: encode([]), statement }),
      part(logStage, { kind: 'receipt', ref: orphan.id, data: receiptLeafData([], statement) }),
      part(logStage, { kind: 'transfer', ref: op.id, data: transferLeaf(op) }),
    ]
  }

  #statement({ id, state, digest, acceptedAt, endedAt, order: wire, workers }: Orphan): PoolStatement {
    const order = decodeSigned(wire, 'order/1')
    if (!order.ok) throw new Error(`the order of job ${id} cannot be read: ${order.problem}`)
    const { message, hash } = order.signed
    return {
      pool: this.#books.poolId,
      job: id,
      order: hash,
      custody: message.custody,
      kind: message.kind,
      model: message.model,
      digest: digest === null ? null : Buffer.from(digest, 'hex'),
      state,
      statements: [],
      segments: [],
      response: null,
      usage: { prompt: 0, completion: 0 },
      price: 0n,
      transfer: null,
      prices: message.prices,
      exposure: workers.map((worker) => Buffer.from(worker, 'hex')),
      assurance: { asked: message.assurance, given: 'none', reason: 'interrupted' },
      evidence: 'none',
      commitment: message.commitment,
      epoch: epochOf(acceptedAt),
      acceptedAt,
      endedAt,
    }
  }
}
