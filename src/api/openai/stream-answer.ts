import { createHash } from 'node:crypto'
import type { JobHandle } from '#jobs'
import { type FinishReason, type Refusal, refusalCodes, type Token, toOpenAiError } from '#protocol'
import { securityHeaders } from '../refusal-headers.ts'
import { Answer, type AnswerHouse, type Exchange } from './answer.ts'
import { doneEvent, type StreamShape, type Usage } from './answer-shape.ts'

/** Text that came while the reader was behind; one event instead of many when it catches up. */
interface HeldText {
  text: string
  readonly tokens: Token[]
}

/**
 * A streamed answer: server-sent events, those of one event-loop turn in one write.
 *
 * The response head is sent with the first event or the first keep-alive, so that an early failure is still an HTTP
 * error. Text is credited to the worker only once the socket took it: a slow reader holds up its own worker, and costs
 * what the socket buffers plus the worker's credit.
 */
export class StreamAnswer extends Answer {
  readonly #shapeOf: (handle: JobHandle) => StreamShape
  readonly #keepTokens: boolean
  #shape: StreamShape | undefined
  #pending = ''
  /** Over the lines that begin with `data:`; those of a refused head are no stream. */
  readonly #hash = createHash('sha256')
  #hashed = false
  #flushAsked = false
  #headSent = false
  #blocked = false
  #lastWriteAt: number
  readonly #opened: boolean[] = []
  readonly #held: (HeldText | undefined)[] = []
  /** Bytes of text per choice that are written but not yet taken by the socket. */
  readonly #uncredited: number[] = []

  /** `keepTokens`: the client asked for log probabilities. */
  constructor(
    house: AnswerHouse,
    exchange: Exchange,
    keepTokens: boolean,
    shapeOf: (handle: JobHandle) => StreamShape,
  ) {
    super(house, exchange)
    this.#shapeOf = shapeOf
    this.#keepTokens = keepTokens
    this.#lastWriteAt = exchange.since
  }

  protected begin(handle: JobHandle): void {
    this.#shape = this.#shapeOf(handle)
    this.sitDown()
  }

  text(choice: number, text: string, tokens: readonly Token[]): void {
    if (this.over) return
    if (this.#blocked) this.#hold(choice, text, tokens)
    else this.#sayText(choice, text, tokens)
  }

  delta(choice: number, delta: Record<string, unknown>): void {
    if (this.over) return
    this.#release(choice)
    this.#say(this.#opening(choice) + this.#form.delta(choice, delta))
  }

  /** Vectors are never streamed; OpenAI has no form for it. */
  vector(): void {}

  choiceEnd(choice: number, finish: FinishReason): void {
    if (this.over) return
    this.#release(choice)
    this.#say(this.#opening(choice) + this.#form.finish(choice, finish))
  }

  end(usage: Usage): void {
    if (this.over) return
    this.#close(this.#form.usage(usage) + doneEvent, 200)
  }

  failed(refusal: Refusal): void {
    if (this.over) return
    if (!this.#headSent && this.#pending === '') {
      this.refuse(refusal)
      return
    }
    for (const choice of this.#held.keys()) this.#release(choice)
    this.#close(`data: ${JSON.stringify(toOpenAiError(refusal))}\n\n`, refusalCodes[refusal.code].status)
  }

  flush(): void {
    this.#flushAsked = false
    if (this.#blocked || this.over || this.#pending === '') return
    this.#sendHead()
    const events = this.#pending
    this.#pending = ''
    this.#note(events)
    this.#lastWriteAt = this.house.runtime.monotonic()
    this.#blocked = !this.exchange.out.write(events)
    if (this.#blocked) this.exchange.out.once('drain', () => this.#onDrain())
    else this.#credit()
  }

  override tick(now: number): void {
    super.tick(now)
    if (this.over || this.#blocked || now - this.#lastWriteAt < this.house.limits.keepAliveCommentMs) return
    this.#pending += ': keep-alive\n\n'
    this.flush()
  }

  get #form(): StreamShape {
    if (!this.#shape) throw new Error('a job answers only after it was accepted')
    return this.#shape
  }

  #opening(choice: number): string {
    if (this.#opened[choice]) return ''
    this.#opened[choice] = true
    return this.#form.opening(choice)
  }

  #sayText(choice: number, text: string, tokens: readonly Token[]): void {
    this.#uncredited[choice] = (this.#uncredited[choice] ?? 0) + Buffer.byteLength(text)
    this.#say(this.#opening(choice) + this.#form.text(choice, text, tokens))
  }

  #say(events: string): void {
    this.#pending += events
    if (this.#flushAsked || this.#blocked) return
    this.#flushAsked = true
    this.house.live.flushSoon(this)
  }

  #hold(choice: number, text: string, tokens: readonly Token[]): void {
    let held = this.#held[choice]
    if (!held) {
      held = { text: '', tokens: [] }
      this.#held[choice] = held
    }
    held.text += text
    if (this.#keepTokens) held.tokens.push(...tokens)
  }

  #release(choice: number): void {
    const held = this.#held[choice]
    if (!held) return
    this.#held[choice] = undefined
    this.#sayText(choice, held.text, held.tokens)
  }

  #onDrain(): void {
    this.#blocked = false
    if (this.over) return
    this.#credit()
    for (const choice of this.#held.keys()) this.#release(choice)
    this.flush()
  }

  #credit(): void {
    for (const [choice, bytes] of this.#uncredited.entries()) {
      if (!bytes) continue
      this.#uncredited[choice] = 0
      this.handle?.consumed(choice, bytes)
    }
  }

  #sendHead(): void {
    if (this.#headSent) return
    this.#headSent = true
    this.exchange.out.writeHead(200, [
      ...this.headers(),
      ...securityHeaders,
      'content-type',
      'text/event-stream; charset=utf-8',
      'x-accel-buffering',
      'no',
    ])
  }

  #close(lastEvents: string, status: number): void {
    this.#sendHead()
    const events = this.#pending + lastEvents
    this.#pending = ''
    this.#note(events)
    this.exchange.out.end(events)
    this.finished(status)
  }

  /** What the socket took, or will lose with its reader. */
  responseHash(): Buffer | null {
    return this.#hashed ? this.#hash.digest() : null
  }

  /** Events as they are written: every data line is followed by a blank one, comments stand alone. */
  #note(events: string): void {
    this.#hashed = true
    this.#hash.update(dataLines(events))
  }
}

/** The lines that begin with `data:`, each with its line feed. */
function dataLines(events: string): string {
  if (!events.includes(': keep-alive')) return events.replaceAll('\n\n', '\n')
  return events
    .split('\n')
    .filter((line) => line.startsWith('data:'))
    .map((line) => `${line}\n`)
    .join('')
}
