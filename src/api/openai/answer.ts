import { hash } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import type { IdempotencyClaim, JobHandle, JobSink } from '#jobs'
import { assuranceHeader, type FinishReason, privacyHeader, type Refusal, refusalCodes, type Token } from '#protocol'
import type { Runtime } from '#runtime'
import type { ApiLimits } from '../limits.ts'
import type { Turn } from '../request-rate.ts'
import { writeJson, writeRefusal } from '../write-reply.ts'
import type { Usage } from './answer-shape.ts'
import { budgetHeaders } from './budget-headers.ts'
import type { LiveAnswer, LiveAnswers } from './live-answers.ts'

/** What all answers of one server share. */
export interface AnswerHouse {
  readonly runtime: Runtime
  readonly limits: ApiLimits
  readonly live: LiveAnswers
  /** A request of the OpenAI API ended; `status` 499 when the client went away first. */
  readonly ended: (route: string, status: number, ms: number) => void
}

/** One request, as far as its answer must know it. */
export interface Exchange {
  readonly route: string
  readonly out: ServerResponse
  /** Headers of every response to it: name, value, name, value. */
  readonly headers: readonly string[]
  /** Where its key may send so many requests a minute. */
  readonly turn?: Turn | undefined
  /** The model that stands in for the one asked for. */
  readonly served?: string | undefined
  /** When it came, monotonic milliseconds. */
  readonly since: number
  /** The right to answer its `Idempotency-Key`; ended with the answer, whatever happens. */
  readonly claim?: IdempotencyClaim | undefined
}

const servedHeader = 'x-lichen-served-model'

/** Nothing the HTTP standard knows; what proxies log when the client left before the answer. */
const clientGoneStatus = 499

/**
 * One answer on its way out.
 *
 *   open ──▶ accepted ──▶ ended ──▶ closed
 *     │          └─────────┐           ▲
 *     └──▶ refused ────────┴───────────┘      the client may close at any point: the job is cancelled at once,
 *                                             unless others wait for this very answer (`Idempotency-Key`)
 */
export abstract class Answer implements JobSink, LiveAnswer {
  protected readonly house: AnswerHouse
  protected readonly exchange: Exchange
  protected handle: JobHandle | undefined
  /** sha256 of the JSON body that was sent. */
  protected sentHash: Buffer | null = null
  #seat: number | undefined
  #ended = false
  #closed = false
  #waiting = 0
  #waitingSince = 0

  constructor(house: AnswerHouse, exchange: Exchange) {
    this.house = house
    this.exchange = exchange
    exchange.out.on('error', ignore)
    exchange.out.once('close', () => this.#onClose())
    if (exchange.out.destroyed) this.#onClose()
  }

  /** The job exists. A client that left meanwhile does not leave it running. */
  accepted(handle: JobHandle): void {
    this.handle = handle
    if (this.#closed) handle.cancel()
    else this.begin(handle)
  }

  protected abstract begin(handle: JobHandle): void
  abstract text(choice: number, text: string, tokens: readonly Token[]): void
  abstract delta(choice: number, delta: Record<string, unknown>): void
  abstract vector(index: number, values: Float32Array): void
  abstract choiceEnd(choice: number, finish: FinishReason): void
  abstract end(usage: Usage): void
  abstract failed(refusal: Refusal): void
  abstract flush(): void
  abstract responseHash(): Buffer | null

  /** True once nothing may be written any more. */
  protected get over(): boolean {
    return this.#ended || this.#closed
  }

  /** The whole response is a refusal. `more` headers: name, value, name, value. */
  refuse(refusal: Refusal, more: readonly string[] = []): void {
    if (this.over) return
    const { out, turn } = this.exchange
    if (!out.destroyed) writeRefusal(out, turn?.notBefore(refusal) ?? refusal, [...this.headers(), ...more])
    this.finished(refusalCodes[refusal.code].status)
  }

  /** The whole response is this JSON. */
  protected sendJson(body: string): void {
    const { out, claim } = this.exchange
    if (!out.destroyed) writeJson(out, 200, body, this.headers())
    this.sentHash = hash('sha256', body, 'buffer')
    if (this.handle) claim?.finish({ jobId: this.handle.id, status: 200, headers: this.#ofJob(this.handle), body })
    this.finished(200)
  }

  /** Headers of this response: the exchange's own and, once there is a job, what is to be said of it and of the budget. */
  protected headers(): readonly string[] {
    const { since, turn } = this.exchange
    const headers = [...this.exchange.headers, ...(turn?.headers() ?? [])]
    if (!this.handle) return [...headers, ...this.#ofModel()]
    const { left } = this.handle
    const ms = Math.round(this.house.runtime.monotonic() - since)
    const budget = left ? budgetHeaders(left, this.house.runtime.now()) : []
    return [...headers, ...this.#ofJob(this.handle), 'openai-processing-ms', String(ms), ...budget]
  }

  /** What is as true of a replay as of the first answer. */
  #ofJob({ id, salt, assurance, privacy }: JobHandle): string[] {
    const own = ['x-lichen-receipt', id, 'x-lichen-salt', salt.toString('hex')]
    own.push(assuranceHeader, assuranceText(assurance))
    if (privacy !== 'standard') own.push(privacyHeader, privacy)
    return [...own, ...this.#ofModel()]
  }

  #ofModel(): string[] {
    const { served } = this.exchange
    return served === undefined ? [] : [servedHeader, served]
  }

  /** The last byte was handed to the socket. Whoever reads slowly from here on is watched. */
  protected finished(status: number): void {
    this.#ended = true
    this.exchange.claim?.abandon()
    this.#report(status)
    const { out } = this.exchange
    if (!out.destroyed && out.writableLength > 0) this.sitDown()
  }

  /** From now on it is looked after, until it closes. */
  protected sitDown(): void {
    this.#seat ??= this.house.live.add(this)
  }

  tick(now: number): void {
    const waiting = this.exchange.out.writableLength
    if (waiting === 0 || waiting !== this.#waiting) {
      this.#waiting = waiting
      this.#waitingSince = now
      return
    }
    const { stalledReaderMs, readerBytesPerSecondMin } = this.house.limits
    const patienceMs = stalledReaderMs + (waiting / readerBytesPerSecondMin) * 1_000
    if (now - this.#waitingSince > patienceMs) this.exchange.out.destroy()
  }

  #onClose(): void {
    if (this.#seat !== undefined) this.house.live.remove(this.#seat)
    this.#seat = undefined
    if (this.#ended || this.exchange.claim?.wanted) return
    this.#closed = true
    this.exchange.claim?.abandon()
    this.handle?.cancel()
    this.#report(clientGoneStatus)
  }

  #report(status: number): void {
    const { route, since } = this.exchange
    this.house.ended(route, status, this.house.runtime.monotonic() - since)
  }
}

/** `sampled`, or `sampled;given=none;reason=no_verifier`: an item of RFC 8941. */
function assuranceText({ asked, given, reason }: JobHandle['assurance']): string {
  return reason === null ? asked : `${asked};given=${given};reason=${reason}`
}

/** Errors of a response mean that its reader is gone; `close` follows and says so. */
function ignore(): void {}
