import { createHmac } from 'node:crypto'
import type { Refusal } from '#protocol'
import type { Runtime } from '#runtime'
import type { Sql } from '#storage'
import { isFinal, type JobState } from './job-states.ts'
import { jobsLimits } from './limits.ts'

/** A finished answer that can be given once more. */
export interface Replay {
  readonly jobId: string
  readonly status: number
  /** What the first answer's headers said of its job: name, value, name, value. */
  readonly headers: readonly string[]
  /** The JSON body as it was sent. */
  readonly body: string
}

export interface IdempotentRequest {
  readonly keyId: string
  /** The header's value. */
  readonly key: string
  /** Method and path. */
  readonly route: string
  readonly body: Buffer
  readonly stream: boolean
}

export type IdempotentAnswer =
  | { readonly state: 'new'; readonly claim: IdempotencyClaim }
  | { readonly state: 'replay'; readonly replay: Replay }
  | { readonly state: 'refused'; readonly refusal: Refusal }

/** The right to answer one key. Whoever has it ends it with `finish` or `abandon`, whatever happens. */
export interface IdempotencyClaim {
  /** For `AcceptedRequest.idempotency`. */
  readonly keyMac: Buffer
  readonly bodyMac: Buffer
  /** Others wait for this answer: worth computing although its own client left. */
  readonly wanted: boolean
  /** It was answered in full with this body. */
  finish(replay: Replay): void
  /** It was refused, failed, cancelled or streamed: there is nothing to replay. */
  abandon(): void
}

/** `running` while its claim is held, then `done` with the body until it is forgotten. */
interface Entry extends IdempotencyClaim {
  readonly stream: boolean
  replay: Replay | undefined
  forgetAt: number
  waiters: (() => void)[]
}

/** Memory besides the body itself. */
const entryBytes = 512

/**
 * `Idempotency-Key`: one job per key and day. Duplicates of a running request wait for its answer; duplicates of a
 * finished one get it from memory for a while, later only its job id. The database keeps keyed hashes, never a body.
 */
export class Idempotency {
  readonly #sql: Sql
  readonly #runtime: Runtime
  readonly #secret: Buffer
  /** In order of insertion, so that the oldest finished one is found first. */
  readonly #entries = new Map<string, Entry>()
  #bytes = 0

  constructor(sql: Sql, runtime: Runtime, secret: Buffer) {
    this.#sql = sql
    this.#runtime = runtime
    this.#secret = secret
  }

  /** @throws what the database throws. */
  async claim(request: IdempotentRequest): Promise<IdempotentAnswer> {
    const keyMac = this.#mac(`key\n${request.keyId}\n`, Buffer.from(request.key))
    const bodyMac = this.#mac(`body\n${request.route}\n`, request.body)
    const name = `${request.keyId} ${keyMac.toString('base64')}`
    for (;;) {
      const entry = this.#entries.get(name)
      if (!entry) break
      if (!entry.bodyMac.equals(bodyMac)) return refused(mismatch)
      if (entry.replay) return { state: 'replay', replay: entry.replay }
      if (entry.stream) return refused(inProgress)
      await new Promise<void>((resolve) => entry.waiters.push(resolve))
    }
    const entry = this.#open(name, keyMac, bodyMac, request.stream)
    try {
      const refusal = await this.#refusedByRecord(request.keyId, keyMac, bodyMac)
      if (!refusal) return { state: 'new', claim: entry }
      entry.abandon()
      return refused(refusal)
    } catch (error) {
      entry.abandon()
      throw error
    }
  }

  /** Forgets bodies whose time is over. */
  sweep(): void {
    const now = this.#runtime.monotonic()
    for (const [name, entry] of this.#entries) {
      if (entry.replay && (entry.forgetAt <= now || this.#bytes > jobsLimits.replayBytesMax)) this.#drop(name, entry)
    }
  }

  #open(name: string, keyMac: Buffer, bodyMac: Buffer, stream: boolean): Entry {
    const wake = (entry: Entry) => {
      for (const waiter of entry.waiters.splice(0)) waiter()
    }
    const entry: Entry = {
      keyMac,
      bodyMac,
      stream,
      replay: undefined,
      forgetAt: 0,
      waiters: [],
      get wanted() {
        return this.waiters.length > 0
      },
      finish: (replay) => {
        if (this.#entries.get(name) !== entry || entry.replay) return
        entry.replay = replay
        entry.forgetAt = this.#runtime.monotonic() + jobsLimits.replayMs
        this.#bytes += replay.body.length + entryBytes
        wake(entry)
        if (this.#bytes > jobsLimits.replayBytesMax) this.sweep()
      },
      abandon: () => {
        if (this.#entries.get(name) !== entry || entry.replay) return
        this.#entries.delete(name)
        wake(entry)
      },
    }
    this.#entries.set(name, entry)
    return entry
  }

  #drop(name: string, entry: Entry): void {
    this.#entries.delete(name)
    this.#bytes -= (entry.replay?.body.length ?? 0) + entryBytes
  }

  /** What the database knows of the key: another process, an earlier hour. A job that failed frees its key. */
  async #refusedByRecord(keyId: string, keyMac: Buffer, bodyMac: Buffer): Promise<Refusal | undefined> {
    const since = this.#runtime.now() - jobsLimits.idempotencyMs
    const [row] = await this.#sql<{ body_mac: Buffer; job_id: string; state: JobState }[]>`
      select i.body_mac, i.job_id, j.state
        from idempotency i join jobs j on j.id = i.job_id
       where i.key_id = ${keyId} and i.key_mac = ${keyMac} and i.created_at > ${since}::timestamptz`
    if (!row || row.state === 'failed' || row.state === 'expired' || row.state === 'interrupted') return undefined
    if (!row.body_mac.equals(bodyMac)) return mismatch
    return isFinal(row.state) ? bodyGone(row.job_id) : inProgress
  }

  #mac(domain: string, bytes: Buffer): Buffer {
    return createHmac('sha256', this.#secret).update(domain).update(bytes).digest()
  }
}

const refused = (refusal: Refusal): IdempotentAnswer => ({ state: 'refused', refusal })

const mismatch: Refusal = {
  code: 'idempotency_mismatch',
  message: 'This Idempotency-Key was used with another request.',
  fix: 'Use a new key for a new request, and the same bytes for a repeated one.',
}

export const inProgress: Refusal = {
  code: 'idempotency_in_progress',
  message: 'A request with this Idempotency-Key is being answered.',
  fix: 'Wait for it, or use a new key.',
  retryAfterMs: 1_000,
}

const bodyGone = (jobId: string): Refusal => ({
  code: 'idempotency_body_gone',
  message: `This Idempotency-Key was answered by job ${jobId}, whose answer is no longer kept.`,
  fix: 'Use a new key to compute it again; answers are kept in memory for ten minutes at most.',
})
