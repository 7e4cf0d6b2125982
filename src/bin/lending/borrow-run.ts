import type { Identity } from '#crypto'
import {
  type Callee,
  ForgedStream,
  federationLimits,
  jobPath,
  type LentFrame,
  type NotCalled,
  type NotCalledCode,
  notCalled,
  type Outbound,
  readLentAnswer,
  v1AnswerSchema,
} from '#federation'
import {
  BatchSigner,
  decodeSigned,
  encodeOwnMessage,
  encodeSigned,
  noTokenId,
  type PoolId,
  pieceBytesMax,
  type Refusal,
  SegmentHash,
  type Token,
  TokenBatch,
} from '#protocol'
import type { RunHandle, RunOrder, RunSink } from '#workers'

export interface Lender {
  readonly id: PoolId
  readonly callee: Required<Callee>
  /** Signs for what a version 1 pool, which signs nothing of the kind, has answered: this pool's bridge to it. */
  readonly bridge: Identity
}

export interface BorrowDeps {
  readonly outbound: Outbound
  readonly self: PoolId
  /** The run is on its way, under this name. */
  readonly onSent: (lender: PoolId, lease: string, jobId: string | undefined) => void
  /** A version 2 pool has answered; its receipt can be asked for. */
  readonly onEnded: (lender: PoolId, lease: string) => void
  readonly onForged: (lender: PoolId, why: string) => void
  /** Nobody was reached there, or the connection broke. */
  readonly onUnreached: (lender: PoolId, why: string) => void
  /** It is there, and takes no jobs of this pool. */
  readonly onRefused: (lender: PoolId, why: string) => void
}

/** One run of a job of this pool at another one: to the runner it is a worker like any other. */
export function borrowRun(deps: BorrowDeps, lender: Lender, order: RunOrder, sink: RunSink): RunHandle {
  const run = new BorrowedRun(deps, lender, order, sink)
  void run.run()
  return run
}

class BorrowedRun implements RunHandle {
  readonly #d: BorrowDeps
  readonly #lender: Lender
  readonly #order: RunOrder
  readonly #sink: RunSink
  readonly #ending = new AbortController()
  #cancelled = false
  #held = 0
  #wake: () => void = () => {}

  constructor(deps: BorrowDeps, lender: Lender, order: RunOrder, sink: RunSink) {
    this.#d = deps
    this.#lender = lender
    this.#order = order
    this.#sink = sink
  }

  /** The other pool ends its part when the connection is cut, and is owed nothing for it. */
  cancel(): void {
    if (this.#cancelled) return
    this.#cancelled = true
    this.#ending.abort()
    this.#wake()
    queueMicrotask(() => this.#sink.acknowledged?.(undefined))
  }

  consumed(bytes: number): void {
    this.#held = Math.max(0, this.#held - bytes)
    this.#wake()
  }

  /** Never rejects. */
  async run(): Promise<void> {
    await Promise.resolve()
    try {
      const { kind, resume, body } = this.#order
      if (this.#cancelled) return
      if (kind === 'embedding' || resume.length > 0 || body.length > bodyBytesMax)
        this.#fail(notForOthers, { blameless: true })
      else if (this.#lender.callee.known.version === 2) await this.#stream(kind)
      else await this.#whole(kind)
    } catch (error) {
      if (this.#cancelled) return
      if (error instanceof ForgedStream) {
        this.#d.onForged(this.#lender.id, error.message)
        return this.#sink.lost(error.message)
      }
      const { code, message } = notCalled(error)
      if (unreached.includes(code)) this.#d.onUnreached(this.#lender.id, message)
      this.#sink.lost(message)
    }
  }

  /** What goes to the lender in either version; that it goes is on record first. */
  #asked(lease: string, wish: object) {
    const { self } = this.#d
    this.#d.onSent(this.#lender.id, lease, this.#order.jobId)
    return {
      method: 'POST',
      target: jobPath,
      hop: 1,
      chain: [self],
      body: { origin_pool_id: self, origin_request_id: lease, ...wish },
      signal: this.#ending.signal,
    } as const
  }

  async #stream(kind: 'chat' | 'completion'): Promise<void> {
    const order = this.#order
    const { papers } = order
    const lease = order.lease ?? ''
    const { lentHeadMsMax, lentSilenceMsMax, lentAnswerBytesMax } = federationLimits
    const request = this.#asked(lease, {
      kind,
      body: order.body.toString('base64'),
      assignment: papers.assignment.toString('base64'),
      salt: papers.salt.toString('base64'),
      deadline_ms: order.deadlineMs,
    })
    const opened = await this.#d.outbound.open(this.#lender.callee, {
      ...request,
      msMax: order.deadlineMs,
      headMsMax: lentHeadMsMax,
      silenceMsMax: lentSilenceMsMax,
      answerBytesMax: lentAnswerBytesMax,
    })
    if (this.#cancelled) return
    if (!opened.ok) return this.#notCalled(opened)
    this.#sink.sent?.()
    if (opened.status !== 200) return this.#refused(opened.status, opened.pieces)
    for await (const frame of readLentAnswer(this.#lender.callee, this.#d.self, opened)) {
      if (this.#cancelled) return
      await this.#take(frame, lease)
    }
  }

  async #take(frame: LentFrame, lease: string): Promise<void> {
    if ('tokens' in frame) {
      if (frame.tokens.length === 0) return
      const tokens = TokenBatch.of(frame.tokens)
      this.#sink.tokens(tokens)
      this.#held += tokens.pieceBytes
      while (this.#held > federationLimits.lentHeldBytesMax && !this.#cancelled)
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
    } else if ('end' in frame) {
      this.#d.onEnded(this.#lender.id, lease)
      this.#sink.end(frame.end)
    } else this.#fail(refusalOf(frame.failed.message), { busy: frame.failed.busy })
  }

  #notCalled({ code, message, status }: NotCalled): void {
    if (!notSent.includes(code)) this.#sink.sent?.()
    if (unreached.includes(code)) this.#d.onUnreached(this.#lender.id, message)
    if (status === undefined) this.#fail(refusalOf(message, code), { blameless: ownDoing.includes(code) })
    else this.#saidNo(status, message)
  }

  async #refused(status: number, pieces: AsyncIterable<Buffer>): Promise<void> {
    const parts: Buffer[] = []
    for await (const piece of pieces) parts.push(piece)
    if (!this.#cancelled) this.#saidNo(status, wordsOf(Buffer.concat(parts)))
  }

  /** A full pool is asked again; one that takes nothing of this pool's not for a moment; what is wrong with this one job is held against nobody. */
  #saidNo(status: number, words: string): void {
    const message = `It answered ${status}: ${words}`
    if (takesNothing.includes(status)) this.#d.onRefused(this.#lender.id, message)
    const blameless = takesNothing.includes(status) || (status >= 400 && status < 500)
    this.#fail(refusalOf(message), { busy: status === 429, blameless })
  }

  /** Version 1: one question, one answer. Its words are counted one by one, for it names no tokens. */
  async #whole(kind: 'chat' | 'completion'): Promise<void> {
    const order = this.#order
    const messages = messagesOf(kind, order.body)
    const lease = order.lease ?? ''
    const called = await this.#d.outbound.call(this.#lender.callee, {
      ...this.#asked(lease, { messages, model: order.model, max_tokens: order.maxTokens }),
      msMax: Math.min(order.deadlineMs, federationLimits.v1JobMsMax),
    })
    if (this.#cancelled) return
    if (!called.ok) return this.#notCalled(called)
    this.#sink.sent?.()
    const answer = v1AnswerSchema.safeParse(called.body)
    if (!answer.success || answer.data.origin_request_id !== lease || answer.data.exec_pool_id !== this.#lender.id)
      throw new ForgedStream('Its answer belongs to no request of this pool.')
    const { response, tokens_in: promptTokens, tokens_out } = answer.data
    const pieces = TokenBatch.of(piecesOf(response).slice(0, order.maxTokens))
    const hash = new SegmentHash()
    hash.add(pieces)
    if (pieces.length > 0) this.#sink.tokens(pieces)
    const completionTokens = Math.min(tokens_out, pieces.length)
    const finish = tokens_out >= order.maxTokens ? ('length' as const) : ('stop' as const)
    const statement = await this.#vouch(hash, { promptTokens, completionTokens, finish })
    if (!this.#cancelled) this.#sink.end({ finish, promptTokens, completionTokens, statement })
  }

  /** This pool's bridge says what came, in the form of a worker. */
  async #vouch(
    sent: SegmentHash,
    { promptTokens, completionTokens, finish }: { promptTokens: number; completionTokens: number; finish: string },
  ): Promise<Buffer> {
    const { bridge } = this.#lender
    const assignment = decodeSigned(this.#order.papers.assignment, 'assignment/1')
    if (!assignment.ok) throw new Error(`an assignment of our own cannot be read: ${assignment.problem}`)
    const { hash, message } = assignment.signed
    const bytes = encodeOwnMessage('worker-statement/1', {
      assignment: hash,
      worker: Buffer.from(bridge.id, 'hex'),
      sent: sent.digest(),
      tokens: sent.pieces,
      usage: { prompt: promptTokens, completion: completionTokens },
      model: message.model,
      digest: message.digest,
      kernel: null,
      decode: message.decode,
      sampler: 'upstream',
      finish,
      prefix: message.prefix,
    })
    const signer = new BatchSigner(bridge)
    return encodeSigned({ bytes, signature: await signer.sign('worker-statement/1', bytes) })
  }

  #fail(refusal: Refusal, { busy = false, blameless = false }: { busy?: boolean; blameless?: boolean }): void {
    if (this.#cancelled) return
    this.#sink.failed({ retry: true, refusal: busy ? { ...refusal, code: 'overloaded' } : refusal, blameless })
  }
}

/** In base64 it must fit into a signed request. */
const bodyBytesMax = 700_000

/** Nothing has left this pool. */
const notSent: readonly NotCalledCode[] = ['killed', 'switch_unknown', 'url_refused']

/** What this pool has done itself. */
const ownDoing: readonly NotCalledCode[] = ['killed', 'switch_unknown', 'revoked', 'cancelled']

/** That a job's own time is over says nothing about who computes it. */
const unreached: readonly NotCalledCode[] = ['unreachable', 'timeout']

/** It does not trust this pool with jobs, lends nothing now, or is switched off. */
const takesNothing: readonly number[] = [401, 403, 404, 503]

/** What a refusal says, where it says anything. */
function wordsOf(bytes: Buffer): string {
  const text = bytes.toString('utf8').slice(0, 300)
  try {
    const { error } = JSON.parse(bytes.toString('utf8')) as { error?: unknown }
    return typeof error === 'string' ? error.slice(0, 300) : text
  } catch {
    return text
  }
}

function refusalOf(message: string, code?: NotCalledCode): Refusal {
  if (code === 'killed') return { code: 'federation_off', message, fix: 'Ask for a model that is here.' }
  if (code === 'switch_unknown') return { code: 'federation_unknown', message, fix: 'Try again.' }
  return { code: 'upstream_error', message: `Another pool did not answer: ${message}`, fix: 'Try again.' }
}

const notForOthers = refusalOf('this request cannot be sent to it.')

/** The conversation as version 1 takes it. */
function messagesOf(kind: 'chat' | 'completion', body: Buffer): unknown[] {
  const { messages, prompt } = JSON.parse(body.toString('utf8')) as { messages?: unknown[]; prompt?: unknown }
  return kind === 'chat' ? (messages ?? []) : [{ role: 'user', content: String(prompt) }]
}

/** Words with the spaces before them: together the text. What is longer than a piece may be counts as several. */
function piecesOf(text: string): Token[] {
  return (text.match(/\s*\S+|\s+$/g) ?? []).flatMap((word) => {
    const bytes = Buffer.from(word)
    const pieces = Math.ceil(bytes.length / pieceBytesMax)
    return Array.from({ length: pieces }, (_, n) => {
      return { id: noTokenId, piece: bytes.subarray(n * pieceBytesMax, (n + 1) * pieceBytesMax) }
    })
  })
}
