import { messageType, noTokenId, SegmentHash, type Token, TokenBatch } from '#protocol'
import { encodeDelta, encodeTokenDetails, encodeTokens, encodeVector, streamBytes, workersLimits } from '#workers'
import type { Flusher } from './flusher.ts'
import { agentLimits } from './limits.ts'

interface Message {
  readonly type: number
  readonly body: Buffer
  /** Hashes what it says, once it is sent. */
  readonly note: (hash: SegmentHash) => void
}

/** When tokens leave that need not leave at once: soon, or late where nobody waits for them. One pair for all runs of a session. */
export interface Flushers {
  readonly soon: Flusher
  readonly late: Flusher
}

/**
 * What one run has to say, in order, as fast as the pool gives credit. A message is charged its length; one may be sent
 * while any credit is left, so that no message is too long for the window.
 */
export class Outbox {
  readonly #stream: number
  readonly #send: (type: number, body: Buffer) => void
  readonly #flushers: Flushers
  #credit: number
  #tokens: Token[] = []
  #tokenBytes = 0
  #messages: Message[] = []
  #messageBytes = 0
  #spoke = false
  #stopped = false
  #empty: PromiseWithResolvers<void> | undefined
  #sentTokens = 0
  /** Nobody reads the answer before it is whole: its tokens may be late. */
  whole = false
  /** Over everything handed to the session: what the worker will sign. */
  readonly hash = new SegmentHash()

  constructor(stream: number, credit: number, flushers: Flushers, send: (type: number, body: Buffer) => void) {
    this.#stream = stream
    this.#credit = credit
    this.#flushers = flushers
    this.#send = send
  }

  /** Tokens handed to the session so far. */
  get sentTokens(): number {
    return this.#sentTokens
  }

  /** The first tokens of a stream leave at once. A promise when the reader is behind: wait for it before computing more. */
  tokens(tokens: readonly Token[]): void | Promise<void> {
    if (this.#stopped) return
    for (const token of tokens) this.#add(token)
    if (this.#tokenBytes >= agentLimits.messageBytesMax) this.flush()
    else if (this.whole) this.#flushers[this.#spoke ? 'late' : 'soon'].mark(this)
    else if (this.#spoke) this.#flushers.soon.mark(this)
    else this.flush()
    this.#spoke = true
    return this.#credit > 0 ? undefined : this.drained()
  }

  delta(delta: Record<string, unknown>): void {
    const body = encodeDelta(this.#stream, delta)
    // As its reader will see it: half letters were mended on the way into JSON.
    const read = JSON.parse(body.toString()).delta
    this.#push({ type: messageType.delta, body, note: (hash) => hash.addDelta(read) })
  }

  vector(index: number, values: Float32Array): void {
    if (values.length === 0 || !values.every(Number.isFinite)) throw new RangeError('the engine gave a broken vector')
    const body = encodeVector(this.#stream, index, values)
    this.#push({ type: messageType.vector, body, note: (hash) => hash.addVector(index, body.subarray(8)) })
  }

  give(credit: number): void {
    this.#credit += credit
    this.flush()
  }

  /** Sends what credit allows. */
  flush(): void {
    if (this.#stopped) return
    if (this.#credit > 0) this.#seal()
    let sent = 0
    for (const message of this.#messages) {
      if (this.#credit <= 0) break
      this.#credit -= message.body.length
      this.#messageBytes -= message.body.length
      message.note(this.hash)
      this.#send(message.type, message.body)
      sent++
    }
    this.#messages.splice(0, sent)
    if (this.#messages.length > 0 || this.#tokens.length > 0) return
    this.#empty?.resolve()
    this.#empty = undefined
  }

  /** Resolves once all has been sent, or the outbox was stopped. */
  async drained(): Promise<void> {
    this.flush()
    if (this.#stopped || (this.#messages.length === 0 && this.#tokens.length === 0)) return
    this.#empty ??= Promise.withResolvers()
    return this.#empty.promise
  }

  /** Nothing more is sent; whoever waits goes on. */
  stop(): void {
    this.#stopped = true
    this.#tokens = []
    this.#messages = []
    this.#empty?.resolve()
    this.#empty = undefined
  }

  #push(message: Message): void {
    const { body } = message
    if (this.#stopped) return
    if (body.length > workersLimits.streamMessageBytesMax) throw new RangeError('the engine gave too long a message')
    this.#seal()
    this.#messages.push(message)
    this.#messageBytes += body.length
    if (this.#messageBytes > agentLimits.outboxBytesMax) throw new RangeError('the engine runs too far ahead')
    this.flush()
  }

  /** Text of an upstream has no token ids and may be cut anywhere; a token of a model is never so long. */
  #add(token: Token): void {
    const { pieceBytesMax, outboxBytesMax } = agentLimits
    this.#tokenBytes += wireBytes(token)
    if (this.#tokenBytes > outboxBytesMax) throw new RangeError('the engine does not wait for its reader')
    if (token.piece.length <= pieceBytesMax) {
      this.#tokens.push(token)
      return
    }
    if (token.id !== noTokenId) throw new RangeError(`the engine gave a token of ${token.piece.length} bytes`)
    for (let at = 0; at < token.piece.length; at += pieceBytesMax) {
      this.#tokens.push({ ...token, piece: token.piece.subarray(at, at + pieceBytesMax) })
    }
  }

  /** Turns waiting tokens into messages, the plain and the detailed apart. */
  #seal(): void {
    for (let from = 0; from < this.#tokens.length; ) {
      const detailed = this.#tokens[from]?.logprob !== undefined
      let to = from
      for (let bytes = 0; to < this.#tokens.length && to - from < workersLimits.tokensPerMessageMax; to++) {
        const token = this.#tokens[to]
        if (!token || (token.logprob !== undefined) !== detailed) break
        bytes += wireBytes(token)
        if (to > from && bytes > agentLimits.messageBytesMax) break
      }
      const part = this.#tokens.slice(from, to)
      const body = detailed ? encodeTokenDetails(this.#stream, part) : encodeTokens(this.#stream, part)
      const note = (hash: SegmentHash) => {
        hash.add(detailed ? TokenBatch.of(part) : { bytes: body.subarray(streamBytes), length: part.length })
        this.#sentTokens += part.length
      }
      this.#messages.push({ type: detailed ? messageType.tokenDetails : messageType.tokens, body, note })
      this.#messageBytes += body.length
      from = to
    }
    this.#tokens = []
    this.#tokenBytes = 0
  }
}

/** About what a token takes on the wire; JSON around a detailed one is 60 bytes, around an alternative 40. */
function wireBytes(token: Token): number {
  if (token.logprob === undefined) return 6 + token.piece.length
  let bytes = 60 + 2 * token.piece.length
  for (const other of token.top ?? []) bytes += 40 + 2 * other.piece.length
  return bytes
}
