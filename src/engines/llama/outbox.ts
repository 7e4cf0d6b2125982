import type { Runtime, Timer } from '#runtime'
import { engineLimits } from '../limits.ts'
import type { EngineEvent } from './engine-messages.ts'

type TokensEvent = Extract<EngineEvent, { type: 'tokens' }>

/**
 * Events on their way to the worker. The first token after a pause leaves at once; in a fast stream, tokens gather
 * for a few milliseconds and travel together. Whatever is not a token leaves at once with all that stands before it.
 */
export class Outbox {
  readonly #runtime: Runtime
  readonly #send: (events: EngineEvent[]) => void
  readonly #tokens = new Map<number, TokensEvent>()
  #events: EngineEvent[] = []
  #sentAt = Number.NEGATIVE_INFINITY
  #turn: NodeJS.Immediate | undefined
  #timer: Timer | undefined

  constructor(runtime: Runtime, send: (events: EngineEvent[]) => void) {
    this.#runtime = runtime
    this.#send = send
  }

  put(event: EngineEvent): void {
    if (event.type === 'tokens') this.#gather(event)
    else this.#events.push(event)
    const waitMs = engineLimits.gatherMs - (this.#runtime.monotonic() - this.#sentAt)
    if (event.type === 'tokens' && waitMs > 0) this.#timer ??= this.#runtime.after(waitMs, () => this.#flush())
    else this.#turn ??= setImmediate(() => this.#flush()) // what this turn of the loop still brings comes along
  }

  /** A task's tokens become one event; nothing else of the task can stand between them. */
  #gather(event: TokensEvent): void {
    const before = this.#tokens.get(event.id)
    if (before) before.tokens.push(...event.tokens)
    else {
      this.#tokens.set(event.id, event)
      this.#events.push(event)
    }
  }

  #flush(): void {
    this.#timer?.cancel()
    clearImmediate(this.#turn)
    this.#timer = undefined
    this.#turn = undefined
    this.#sentAt = this.#runtime.monotonic()
    const events = this.#events
    this.#events = []
    this.#tokens.clear()
    if (events.length > 0) this.#send(events)
  }
}
