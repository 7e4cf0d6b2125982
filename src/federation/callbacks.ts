import { withDeadline } from '#runtime'
import type { AdminRequestOptions } from './admin-ports.ts'
import { adminCallbackPath, type RequestState } from './admin-request.ts'
import { federationLimits } from './limits.ts'
import { callbackEnded, expireRequests, moveRequest, type RequestRow, takeDueCallbacks } from './request-rows.ts'

type Options = Pick<AdminRequestOptions, 'database' | 'runtime' | 'poolId' | 'send' | 'onEvent' | 'onProblem'>

/** What the asker is told a request came to. */
const toldAs: Readonly<Partial<Record<RequestState, 'executed' | 'rejected' | 'failed'>>> = {
  approved: 'executed',
  executed_no_callback: 'executed',
  executed: 'executed',
  rejected: 'rejected',
  failed: 'failed',
}

/** The other side has the callback, or says that it never will: the request is not its own, or it has ended there. */
const isHeard = (status: number | undefined) => status === 404 || status === 409 || status === 410

/** Tells askers what their requests came to, again and again until it lands; and lets requests expire. */
export class Callbacks implements AsyncDisposable {
  readonly #o: Options
  readonly #stopping = new AbortController()
  readonly #timer: { cancel(): void }
  #round: Promise<void> = Promise.resolve()
  #busy = false

  constructor(options: Options) {
    this.#o = options
    this.#timer = options.runtime.every(federationLimits.requestSweepMs, () => void this.sweep())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#timer.cancel()
    this.#stopping.abort()
    await this.#round
  }

  /** One look at what is due; one at a time. */
  sweep(): Promise<void> {
    if (this.#busy || this.#stopping.signal.aborted) return this.#round
    this.#busy = true
    this.#round = this.#sweep()
      .catch((error: unknown) => this.#o.onProblem(error))
      .finally(() => {
        this.#busy = false
      })
    return this.#round
  }

  /** Tries one callback now, and waits for it a moment: whoever decides sees whether it landed. */
  async tryNow(requestId: string): Promise<void> {
    const { runtime, onProblem } = this.#o
    // a round that has begun may have taken it
    const trying = Promise.all([this.#deliverDue(requestId), this.#round]).catch((error: unknown) => onProblem(error))
    await withDeadline(runtime, federationLimits.callbackWaitMs, () => new Error('later'), trying).catch(() => {})
  }

  async #sweep(): Promise<void> {
    await expireRequests(this.#o.database.sql, this.#o.runtime.now(), federationLimits.callbackGraceMs)
    await this.#deliverDue()
  }

  async #deliverDue(requestId?: string): Promise<void> {
    const { callbackPauseMsMin: pauseMin, callbackPauseMsMax: pauseMax, callbacksPerRound: limit } = federationLimits
    const { database, runtime } = this.#o
    const window = { now: runtime.now(), pauseMin, pauseMax, limit, ...(requestId === undefined ? {} : { requestId }) }
    const due = await takeDueCallbacks(database.sql, window)
    await Promise.all(due.map((row) => this.#deliver(row)))
  }

  async #deliver(row: RequestRow): Promise<void> {
    const { database, runtime, poolId, send, onEvent } = this.#o
    const { requestId, peerId, action, state, result, error } = row
    const body = { atom_id: poolId, request_id: requestId, status: toldAs[state], result, error }
    const called = await send(peerId, adminCallbackPath, body, this.#stopping.signal)
    const landed = called.ok
    const heard = landed || isHeard(called.status)
    const at = runtime.now()
    await database.transaction(async (tx) => {
      if (state === 'approved')
        await moveRequest(tx, row, 'approved', landed ? 'executed' : 'executed_no_callback', { at })
      else if (state === 'executed_no_callback' && landed)
        await moveRequest(tx, row, 'executed_no_callback', 'executed', { at })
      if (heard) await callbackEnded(tx, requestId, at, landed)
    })
    onEvent({
      request: requestId,
      peer: peerId,
      action,
      what: landed ? 'called back' : `not called back: ${called.code}`,
    })
  }
}
