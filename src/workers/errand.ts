import { messageType, PoolError, type Refusal } from '#protocol'
import { encodeCheckId } from './encode-message.ts'
import { workersLimits } from './limits.ts'
import type { WorkerMessage } from './messages.ts'
import { refusalFromWorker } from './refusal-from-worker.ts'
import { lookedTooLong, lostVerifier } from './refusals.ts'

export type ErrandMessage = Extract<WorkerMessage, { check: string }>

/** What an errand needs of its session. */
export interface ErrandLink {
  now(): number
  send(type: number, body: Buffer | readonly Buffer[]): void
  /** The worker has said its last word on it. */
  released(errand: Errand): void
  /** Recorded without closing the session. */
  overstepped(message: string): void
}

/**
 * Something a worker finds out for the pool, apart from its runs: a check or a calibration.
 *
 *   open ──last word──▶ done
 *     └──failed here · deadline · withdrawn──▶ stopping ──last word──▶ done         lost: any ──▶ done
 *
 * The worker answers each with exactly one last word, the answer to a `withdraw` included; until then it holds its place.
 */
export abstract class Errand {
  readonly id: string
  protected readonly link: ErrandLink
  /** What is waited for now must have come by then. */
  protected until: number
  readonly #signal: AbortSignal
  #state: 'open' | 'stopping' | 'done' = 'open'

  constructor(id: string, deadlineMs: number, signal: AbortSignal, link: ErrandLink) {
    this.id = id
    this.link = link
    this.until = link.now() + deadlineMs
    this.#signal = signal
    signal.addEventListener('abort', this.#withdrawn, { once: true })
  }

  /** Somebody still waits for it. */
  protected get open(): boolean {
    return this.#state === 'open'
  }

  /** The pool's caller hears of it. Only the first word counts. */
  protected abstract fail(error: unknown): void
  /** What the worker said while it was open; a sentence when that breaks the protocol. */
  protected abstract hear(message: Exclude<ErrandMessage, { say: 'checkFailed' }>): string | undefined
  /** Whether a message that came after we gave up is the last word. */
  protected abstract isLast(message: Exclude<ErrandMessage, { say: 'checkFailed' }>): boolean

  receive(message: ErrandMessage): string | undefined {
    if (message.say === 'checkFailed') {
      const { code, message: sentence, fix } = message
      const wire = { stream: 0, retry: true, code, message: sentence, fix, param: null }
      this.fail(PoolError.from(refusalFromWorker(wire).refusal))
      this.done()
      return undefined
    }
    if (this.open) return this.hear(message)
    if (this.isLast(message)) this.done()
    return undefined
  }

  /** Looks at the clock; a sentence when the worker has not let go of what nobody waits for. */
  sweep(nowMs: number): string | undefined {
    if (nowMs < this.until) return undefined
    if (this.#state === 'stopping') return 'A withdrawn check was never ended.'
    this.giveUp(lookedTooLong)
    return undefined
  }

  lost(reason: string): void {
    this.fail(PoolError.from(lostVerifier(reason)))
    this.done()
  }

  /** It is over before the worker hears of it. */
  refuse(why: unknown): void {
    this.fail(why instanceof Error ? why : PoolError.from(why as Refusal))
    this.done()
  }

  /** It ends here, whatever the worker still finds out. */
  protected giveUp(why: Refusal | Error): void {
    if (!this.open) return
    this.fail(why instanceof Error ? why : PoolError.from(why))
    this.#state = 'stopping'
    this.until = this.link.now() + workersLimits.stopMsMax
    this.#signal.removeEventListener('abort', this.#withdrawn)
    this.link.send(messageType.withdraw, encodeCheckId(this.id))
  }

  protected done(): void {
    if (this.#state === 'done') return
    this.#state = 'done'
    this.#signal.removeEventListener('abort', this.#withdrawn)
    this.link.released(this)
  }

  #withdrawn = () => this.giveUp(this.#signal.reason instanceof Error ? this.#signal.reason : new Error('withdrawn'))
}
