import { type DispatchHeader, type FinishReason, messageType, type Refusal, type TokenBatch } from '#protocol'
import { encodeCancel, encodeCredit } from './encode-message.ts'
import { workersLimits } from './limits.ts'
import type { Papers, WorkerMessage } from './messages.ts'
import { refusalFromWorker } from './refusal-from-worker.ts'
import { deadlineExceeded, noSlot } from './refusals.ts'

/** What one worker is asked to compute. `lease` names the attempt; a fresh UUID when absent. */
export type RunOrder = Omit<DispatchHeader, 'stream' | 'lease' | 'credit'> & {
  readonly lease?: string
  /** For the books of whoever dispatches; no worker is told. */
  readonly jobId?: string
  readonly papers: Papers
  /** The raw HTTP body. */
  readonly body: Buffer
}

/** A worker's last word on a run: claims, which only the caller can judge. */
export interface RunEnd {
  readonly finish: FinishReason
  readonly promptTokens: number
  readonly completionTokens: number
  /** Its signed statement in wire form, unread. */
  readonly statement: Buffer | null
}

/** Something a worker sent in a run. */
export type RunOutput =
  | { readonly tokens: TokenBatch }
  | { readonly delta: Record<string, unknown> }
  | { readonly index: number; readonly values: Float32Array }

/** Where a run's answer goes. Exactly one of `end`, `failed`, `lost` is called, unless the run was cancelled first. */
export interface RunSink {
  /** The worker is being sent the prompt now. Called before `dispatch` returns, or once there is a slot; never for a run that was not sent. */
  sent?(): void
  /** Pieces are views of the received message: copy what is kept for long. */
  tokens(tokens: TokenBatch): void
  delta(delta: Record<string, unknown>): void
  vector(index: number, values: Float32Array): void
  /** The worker's claims; counting is the caller's. */
  end(end: RunEnd): void
  /** `blameless`: it was not begun there, and nothing is wrong with who said so. */
  failed(failed: { retry: boolean; refusal: Refusal; blameless?: boolean }): void
  /** The worker is gone; its word on this run will never come. */
  lost(reason: string): void
  /** After {@link RunHandle.cancel}: what was already on its way. Nobody reads it, but the worker signs for it. */
  late?(output: RunOutput): void
  /** The last word on a cancelled run; undefined when the worker failed, was lost, or never had it. Called once. */
  acknowledged?(end: RunEnd | undefined): void
}

export interface RunHandle {
  /** Stops the run at its next token. The sink hears only what comes `late`, and that it was `acknowledged`. */
  cancel(): void
  /** So many bytes of text have left the pool: the worker may send as much again. More than was received counts as all. */
  consumed(bytes: number): void
}

/** What a run needs of its session. */
export interface RunLink {
  now(): number
  send(type: number, body: Buffer): void
  /** The worker is done with this stream; its slot is free. */
  released(run: Run): void
  relayed(tokens: number): void
  /** Recorded without closing the session. */
  overstepped(message: string): void
}

type StreamMessage = Extract<WorkerMessage, { stream: number }>

/**
 * One dispatched run, as the pool sees it.
 *
 *   waiting ──▶ running ──end · failed──▶ done
 *      │           └──cancel · deadline──▶ stopping ──acknowledged──▶ done
 *      └──cancel · deadline · no slot──▶ done                 lost: any ──▶ done
 *
 * While stopping the slot is still taken, what arrives is dropped, and no credit is given: a worker that goes on is cut.
 */
export class Run implements RunHandle {
  readonly stream: number
  readonly order: RunOrder
  readonly #sink: RunSink
  readonly #link: RunLink
  readonly #deadlineAt: number
  #state: 'waiting' | 'running' | 'stopping' | 'done' = 'waiting'
  /** `waiting`: give up then. `stopping`: the worker must have acknowledged then. */
  #stateUntil: number
  /** The caller cancelled it and waits for the worker's last word. */
  #awaited = false
  #tokensLeft: number
  #bytesLeft: number = workersLimits.runBytesMax
  #deltaBytesLeft: number = workersLimits.deltaBytesMax
  /** Bytes the worker may still send; one message may take it below zero. */
  #credit: number = workersLimits.creditBytes
  /** Received and not yet consumed: bytes on the wire, and bytes of text in them. */
  #heldWire = 0
  #heldText = 0
  #unreturned = 0
  #relayed = 0

  constructor(stream: number, order: RunOrder, sink: RunSink, link: RunLink) {
    this.stream = stream
    this.order = order
    this.#sink = sink
    this.#link = link
    this.#tokensLeft = Math.max(0, order.maxTokens - order.resume.length)
    this.#deadlineAt = link.now() + order.deadlineMs
    this.#stateUntil = link.now() + workersLimits.slotWaitMsMax
  }

  /** True once the caller is through with it, although the worker may not be. */
  get stopping(): boolean {
    return this.#state === 'stopping'
  }

  /** Milliseconds left of its deadline, at least 1. */
  get msLeft(): number {
    return Math.max(1, Math.ceil(this.#deadlineAt - this.#link.now()))
  }

  started(): void {
    this.#state = 'running'
    this.#sink.sent?.()
  }

  cancel(): void {
    if (this.#state !== 'waiting' && this.#state !== 'running') return
    this.#awaited = true
    if (this.#state === 'waiting') queueMicrotask(() => this.#acknowledge(undefined))
    this.#letGo()
  }

  consumed(bytes: number): void {
    if (this.#state !== 'running') return
    const text = Math.min(Math.max(0, bytes), this.#heldText)
    this.#giveBack(
      text === this.#heldText ? this.#heldWire : Math.floor((this.#heldWire * text) / this.#heldText),
      text,
    )
  }

  /** What the worker said on this stream, `bytes` long; a sentence when that breaks the protocol. */
  receive(message: StreamMessage, bytes: number): string | undefined {
    if (message.say === 'end' || message.say === 'failed') return this.#finish(message)
    if (this.#credit <= 0) return 'A run sent more than its credit.'
    this.#credit -= bytes
    this.#bytesLeft -= bytes
    if (this.#bytesLeft < 0) return `A run sent more than ${workersLimits.runBytesMax} bytes.`
    if (this.#state !== 'running') {
      if (this.#awaited) this.#sink.late?.(message)
      return undefined
    }
    if ((message.say === 'vector') !== (this.order.kind === 'embedding')) return 'A run sent what was not asked for.'
    switch (message.say) {
      case 'tokens':
        return this.#tokens(message.tokens, bytes)
      case 'delta':
        return this.#delta(message.delta, bytes)
      case 'vector':
        this.#heldWire += bytes
        this.#sink.vector(message.index, message.values)
        this.#giveBack(bytes, 0)
    }
    return undefined
  }

  /** Looks at the clock; a sentence when the worker did not acknowledge a cancelled run. */
  sweep(nowMs: number): string | undefined {
    if (this.#state === 'stopping') return nowMs < this.#stateUntil ? undefined : 'A cancelled run was never ended.'
    if (nowMs >= this.#deadlineAt) {
      this.#settle((sink) => sink.failed({ retry: false, refusal: deadlineExceeded }))
    } else if (this.#state === 'waiting' && nowMs >= this.#stateUntil) {
      this.#settle((sink) => sink.failed({ retry: true, refusal: noSlot }))
    }
    return undefined
  }

  /** Refused before anything was sent. */
  refuse(failed: { retry: boolean; refusal: Refusal }): void {
    this.#settle((sink) => sink.failed(failed))
  }

  lost(reason: string): void {
    const owed = this.#state === 'running' || this.#state === 'waiting'
    this.#state = 'done'
    if (owed) this.#sink.lost(reason)
    else this.#acknowledge(undefined)
  }

  #tokens(tokens: TokenBatch, bytes: number): undefined {
    const allowed = tokens.first(this.#tokensLeft)
    this.#tokensLeft -= allowed.length
    this.#relayed += allowed.length
    const text = allowed.pieceBytes
    this.#heldText += text
    this.#heldWire += bytes
    this.#link.relayed(allowed.length)
    if (allowed.length > 0) this.#sink.tokens(allowed)
    if (allowed.length < tokens.length) this.#cutOff()
    else if (text === 0 && this.#heldText === 0) this.#giveBack(this.#heldWire, 0)
  }

  /** Not held back for a slow reader (few know how to wait for a tool call), but small in all. */
  #delta(delta: Record<string, unknown>, bytes: number): string | undefined {
    this.#deltaBytesLeft -= bytes
    if (this.#deltaBytesLeft < 0) return `A run sent more than ${workersLimits.deltaBytesMax} bytes of deltas.`
    this.#heldWire += bytes
    this.#sink.delta(delta)
    this.#giveBack(bytes, 0)
    return undefined
  }

  /** It has its `max_tokens` and goes on: the answer is whole, the rest is nobody's. */
  #cutOff(): void {
    this.#link.overstepped('A run sent more tokens than its max_tokens.')
    const completionTokens = this.#relayed
    this.#settle((sink) => sink.end({ finish: 'length', promptTokens: 0, completionTokens, statement: null }))
  }

  #finish(message: Extract<StreamMessage, { say: 'end' | 'failed' }>): undefined {
    const wasRunning = this.#state === 'running'
    this.#done()
    if (!wasRunning) this.#acknowledge(message.say === 'end' ? message : undefined)
    else if (message.say === 'failed') this.#sink.failed(refusalFromWorker(message))
    else this.#sink.end(message)
  }

  #acknowledge(end: RunEnd | undefined): void {
    if (!this.#awaited) return
    this.#awaited = false
    this.#sink.acknowledged?.(end)
  }

  /** The caller's last word comes now; the worker is told to stop if it is at work. */
  #settle(tell: (sink: RunSink) => void): void {
    if (this.#state !== 'running' && this.#state !== 'waiting') return
    this.#letGo()
    tell(this.#sink)
  }

  #letGo(): void {
    if (this.#state === 'waiting') this.#done()
    else this.#stop()
  }

  #stop(): void {
    this.#state = 'stopping'
    this.#stateUntil = this.#link.now() + workersLimits.stopMsMax
    this.#link.send(messageType.cancel, encodeCancel(this.stream))
  }

  #done(): void {
    this.#state = 'done'
    this.#link.released(this)
  }

  /** Credit travels in quarters of the window: a short run costs no credit message at all. */
  #giveBack(wire: number, text: number): void {
    if (this.#state !== 'running') return
    const back = Math.min(wire, this.#heldWire)
    this.#heldWire -= back
    this.#heldText -= text
    this.#unreturned += back
    if (this.#unreturned < workersLimits.creditBytes / 4) return
    this.#credit += this.#unreturned
    this.#link.send(messageType.credit, encodeCredit(this.stream, this.#unreturned))
    this.#unreturned = 0
  }
}
