import { type Federation, receiptPath } from '#federation'
import { type PoolId, readReceipt, verifyReceipt } from '#protocol'
import type { Runtime } from '#runtime'
import type { Database } from '#storage'

interface Options {
  readonly database: Database
  readonly runtime: Runtime
  readonly federation: Federation
  readonly onProblem: (error: unknown) => void
}

/** A receipt is there once the other pool has settled the job and its log was signed: a moment, or a few. */
const pausesMs = [100, 400, 1_000, 3_000, 10_000, 60_000]
/** Receipts that are awaited at once; those beyond are never asked for. */
const awaitedMax = 256

/** Fetches what another pool and its workers have signed for a run that it computed, checks it, and keeps it beside this pool's own. */
export class RemoteReceipts implements Disposable {
  readonly #o: Options
  readonly #ending = new AbortController()
  #awaited = 0

  constructor(options: Options) {
    this.#o = options
  }

  [Symbol.dispose](): void {
    this.#ending.abort()
  }

  /** Written down before anything is sent: what a pool is owed can be told from it. */
  sent(peer: PoolId, lease: string, jobId: string | undefined): void {
    const { database, runtime, onProblem } = this.#o
    database.sql`
      insert into borrowed_runs (id, peer_id, job_id, at)
      values (${lease}, ${peer}, ${jobId ?? null}, ${new Date(runtime.now())}) on conflict do nothing`.catch(onProblem)
  }

  ended(peer: PoolId, lease: string): void {
    if (this.#awaited >= awaitedMax) return
    this.#awaited++
    void this.#fetch(peer, lease)
      .catch((error) => {
        if (!this.#ending.signal.aborted) this.#o.onProblem(error)
      })
      .finally(() => this.#awaited--)
  }

  /** Files that belong to a job of this pool, oldest first. */
  async of(jobId: string): Promise<Buffer[]> {
    const rows = await this.#o.database.sql<{ receipt: Buffer }[]>`
      select receipt from borrowed_runs where job_id = ${jobId} and receipt is not null order by at`
    return rows.map(({ receipt }) => Buffer.from(receipt))
  }

  async #fetch(id: PoolId, lease: string): Promise<void> {
    const { federation, runtime } = this.#o
    for (const pause of pausesMs) {
      await runtime.sleep(pause, this.#ending.signal)
      const peer = federation.peers.get(id)
      if (!peer || peer.revoked) return
      const called = await federation.outbound.call(
        { url: peer.url, known: peer },
        { method: 'POST', target: receiptPath, body: { origin_request_id: lease }, signal: this.#ending.signal },
      )
      const text = called.ok ? (called.body as { receipt?: unknown } | null)?.receipt : undefined
      if (typeof text !== 'string') continue
      await this.#keep(id, lease, Buffer.from(text, 'base64'))
      return
    }
    await federation.records.note(id, 'failure', 'it gave no receipt for a job')
  }

  async #keep(id: PoolId, lease: string, file: Buffer): Promise<void> {
    const { federation, database } = this.#o
    const verdict = verifyReceipt(file, { poolId: id })
    const account = readReceipt(file)?.order.message.account
    const problem = !verdict.ok
      ? verdict.problem.sentence
      : account === `peer:${federation.self}`
        ? undefined
        : 'It is not about a job of this pool.'
    if (problem) return federation.records.note(id, 'mismatch', `its receipt does not hold: ${problem}`)
    await database.sql`update borrowed_runs set receipt = ${file} where id = ${lease}`
  }
}
