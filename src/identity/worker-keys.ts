import { sha256 } from '#crypto'
import { PoolError, type Refusal, type WorkerId } from '#protocol'
import type { Runtime } from '#runtime'
import { BatchLoader, type Database, fromDatabase, type Tx } from '#storage'
import { assertNotBlocked } from './block-operator.ts'
import { assertWorkerFree, type Blocks, workerBlocked } from './blocks.ts'
import { ChangeFeed, changedSince } from './change-feed.ts'
import { decideWorkerAct, type WorkerWish } from './decide-worker-act.ts'
import { checkExpiry } from './invites.ts'
import { identityLimits } from './limits.ts'
import { recordAct } from './record-act.ts'
import {
  toWorkerRecord,
  type WorkerAct,
  type WorkerAdmission,
  type WorkerRecord,
  type WorkerRow,
  workerColumns,
  workerTables,
} from './worker-records.ts'

/** What a worker shows at the door; its signature has been verified. */
export interface WorkerAtDoor {
  readonly publicKey: Buffer
  readonly id: WorkerId
  /** Of an invite; workers that have joined need none. */
  readonly token?: Buffer | undefined
  /** Where it comes from; unknown to callers without a socket. */
  readonly address?: string | undefined
}

export type AdmitVerdict = ({ readonly ok: true } & WorkerAdmission) | { readonly ok: false; readonly refusal: Refusal }

const refuse = (code: Refusal['code'], message: string, fix: string): AdmitVerdict => ({
  ok: false,
  refusal: { code, message, fix },
})

const askAnother = 'Ask the pool’s operator for another: `lichen invite --operator NAME`.'

/** Why an invite does not let a worker in. */
const inviteRefusals: Readonly<Record<string, AdmitVerdict>> = {
  invite_invalid: refuse('invite_invalid', 'The pool does not know this invite.', askAnother),
  invite_used: refuse('invite_used', 'Another worker has already used this invite.', askAnother),
  invite_expired: refuse('invite_expired', 'This invite was not used within its 24 hours.', askAnother),
}

/** Keys of workers: let in, approved, renewed, revoked, followed. */
export class WorkerKeys implements Disposable {
  readonly #database: Database
  readonly #runtime: Runtime
  readonly #loader: BatchLoader<WorkerRow>
  readonly #blocks: Pick<Blocks, 'whyNotFrom'>
  readonly #feeds: Disposable[] = []

  constructor(database: Database, runtime: Runtime, blocks: Pick<Blocks, 'whyNotFrom'>) {
    this.#database = database
    this.#runtime = runtime
    this.#blocks = blocks
    this.#loader = new BatchLoader((ids) => this.#load(ids))
  }

  async admit(worker: WorkerAtDoor): Promise<AdmitVerdict> {
    const [known, elsewhere] = await Promise.all([this.#loader.get(worker.id), this.#blocks.whyNotFrom(worker.address)])
    if (elsewhere) return { ok: false, refusal: elsewhere }
    if (known) return judge(known, this.#runtime.now())
    if (!worker.token) {
      return refuse('worker_unknown', 'The pool does not know this worker.', 'Join with an invite of its operator.')
    }
    const code = await this.#join(worker, worker.token)
    const refused = inviteRefusals[code]
    if (refused) return refused
    const joined = await this.#loader.get(worker.id)
    if (!joined) throw new Error(`worker ${worker.id} joined (${code}) and is not there`)
    return judge(joined, this.#runtime.now())
  }

  async #join(worker: WorkerAtDoor, token: Buffer): Promise<string> {
    const [row] = await fromDatabase(this.#database.sql<{ code: string }[]>`
      select join_worker(${worker.id}, ${worker.publicKey}, ${sha256(token)}, ${this.#runtime.now()}) as code`)
    return row?.code ?? 'no answer'
  }

  async act(idOrPrefix: string, wish: WorkerWish, by: string): Promise<WorkerRecord> {
    return this.#database.transaction(async (tx) => {
      const worker = await findWorker(tx, idOrPrefix)
      const now = this.#runtime.now()
      if (wish.act !== 'revoke') await this.#refuseBlocked(tx, worker)
      const decision = decideWorkerAct(wish, worker, now)
      if (!decision.ok) throw PoolError.from(decision.refusal)
      if (decision.unchanged) return toWorkerRecord(worker)
      const { standing, expiresAt } = decision
      await tx`update worker_keys set standing = ${standing}, expires_at = ${expiresAt} where id = ${worker.id}`
      const act = { approve: 'approved', renew: 'renewed', revoke: 'revoked' }[wish.act]
      await tx`insert into worker_key_acts (act, worker_id, by_whom, at, expires_at)
               values (${act}, ${worker.id}, ${by}, ${now}, ${expiresAt})`
      const details = { operator: worker.operator, expires_at: expiresAt }
      await recordAct(tx, by, { action: `worker.${wish.act}`, subject: `worker:${worker.id}`, details })
      return { ...toWorkerRecord(worker), standing, expiresAt }
    })
  }

  async #refuseBlocked(tx: Tx, { id, operator }: WorkerRow): Promise<void> {
    await assertWorkerFree(tx, id)
    const [row] = await tx<{ blockedAt: number | null }[]>`
      select blocked_at as "blockedAt" from operators where name = ${operator}`
    assertNotBlocked(operator, row?.blockedAt)
  }

  /** `expiresInMs` from now; what its invite granted when absent. */
  async renew(idOrPrefix: string, expiresInMs: number | undefined, by: string): Promise<WorkerRecord> {
    const granted = expiresInMs ?? Number((await this.#find(idOrPrefix)).expiresInMs)
    return this.act(idOrPrefix, { act: 'renew', expiresInMs: checkExpiry(granted) }, by)
  }

  async #find(idOrPrefix: string): Promise<WorkerRow> {
    return fromDatabase(findWorker(this.#database.sql, idOrPrefix))
  }

  /** By id; the next page begins `after` the last one of this. */
  async list(page: { readonly after?: string; readonly limit?: number } = {}): Promise<WorkerRecord[]> {
    const { sql } = this.#database
    const limit = Math.min(page.limit ?? 100, identityLimits.pageRowsMax)
    const rows = await fromDatabase(sql<WorkerRow[]>`
      select ${sql.unsafe(workerColumns)} from ${sql.unsafe(workerTables)}
       where w.id > ${page.after ?? ''} order by w.id limit ${limit}`)
    return rows.map(toWorkerRecord)
  }

  /** One worker and everything that was done to its key, the invitation first. */
  async show(idOrPrefix: string): Promise<WorkerRecord & { readonly acts: readonly WorkerAct[] }> {
    const worker = await this.#find(idOrPrefix)
    const { sql } = this.#database
    const acts = await fromDatabase(sql<WorkerAct[]>`
      select act, by_whom as by, at, expires_at as "expiresAt" from worker_key_acts
       where worker_id = ${worker.id}
          or invite_id = (select invite_id from worker_keys where id = ${worker.id})
       order by seq`)
    return { ...toWorkerRecord(worker), acts: [...acts] }
  }

  /** Told within a second of every change, by whichever replica or program it was made; no `news` is what was made before. */
  onChange(told: (worker: WorkerRecord, news: boolean) => void): Disposable {
    const { sql } = this.#database
    const feed = new ChangeFeed<WorkerRow>({
      database: this.#database,
      runtime: this.#runtime,
      channel: 'lichen_workers',
      read: (since) => sql<WorkerRow[]>`
        select ${sql.unsafe(workerColumns)} from ${sql.unsafe(workerTables)}
         where ${changedSince(sql, 'w', since)}
         order by w.changed_at limit ${identityLimits.changesMax}`,
      onChange: (row, news) => told(toWorkerRecord(row), news),
    })
    this.#feeds.push(feed)
    return feed
  }

  async #load(ids: readonly string[]): Promise<ReadonlyMap<string, WorkerRow>> {
    const { sql } = this.#database
    const rows = await sql<WorkerRow[]>`
      select ${sql.unsafe(workerColumns)} from ${sql.unsafe(workerTables)} where w.id = any(${ids as string[]}::text[])`
    return new Map(rows.map((row) => [row.id, row]))
  }

  [Symbol.dispose](): void {
    for (const feed of this.#feeds) feed[Symbol.dispose]()
  }
}

/** Decides; touches no clock and no table. */
function judge(worker: WorkerRow, nowMs: number): AdmitVerdict {
  const { standing, expiresAt, operator } = worker
  if (worker.blocked) return { ok: false, refusal: workerBlocked(worker.id, worker.blocked) }
  const name = worker.id.slice(0, 12)
  const renew = `Ask the pool’s operator to renew it: \`lichen workers renew ${name}\`.`
  if (standing === 'revoked') return refuse('worker_revoked', 'The key of this worker was revoked.', renew)
  if (expiresAt <= nowMs) return refuse('worker_expired', 'The key of this worker has expired.', renew)
  return { ok: true, standing, expiresAt, operator }
}

/** @throws PoolError not_found, conflict when several ids begin so. */
export async function findWorker(tx: Tx, idOrPrefix: string): Promise<WorkerRow> {
  const usable = /^[0-9a-f]+$/.test(idOrPrefix) && idOrPrefix.length >= identityLimits.idPrefixCharsMin
  const rows = usable
    ? await tx<WorkerRow[]>`
        select ${tx.unsafe(workerColumns)} from ${tx.unsafe(workerTables)}
         where w.id >= ${idOrPrefix} and w.id <= ${idOrPrefix.padEnd(64, 'f')} order by w.id limit 2 for update of w`
    : []
  const [worker] = rows
  if (worker && rows.length === 1) return worker
  if (worker) throw new PoolError('conflict', `Several workers begin with ${idOrPrefix}.`, 'Give more of the id.')
  throw new PoolError(
    'not_found',
    `There is no worker ${idOrPrefix}.`,
    `See \`lichen workers ls\`; give the whole id or at least its first ${identityLimits.idPrefixCharsMin} digits.`,
  )
}
