import type { Engine } from '#engines'
import {
  type Calibrate,
  type CheckHeader,
  type CheckTask,
  encodeEvidence,
  messageType,
  PoolError,
  parseOpenAiRequest,
  protocolLimits,
  type Refusal,
} from '#protocol'
import type { Runtime } from '#runtime'
import {
  type CommittedToken,
  encodeCheckFailed,
  encodeClass,
  encodeCommitted,
  encodeEvidenceMessage,
  workersLimits,
} from '#workers'
import type { AgentLog, EngineSet } from './engine-set.ts'
import { agentLimits } from './limits.ts'
import type { PaperDesk } from './papers.ts'

/** What checks need of their session. */
export interface CheckDeskLink {
  readonly runtime: Runtime
  readonly log: AgentLog
  readonly engines: EngineSet
  readonly desk: PaperDesk
  send(type: number, body: Buffer | readonly Buffer[]): void
}

type WireRefusal = { readonly code: string; readonly message: string; readonly fix: string }

/** One check or calibration: waiting ──▶ computing ──committed──▶ bound ──reveal──▶ (gone), with its last word at any time. */
interface Work {
  readonly check: string
  readonly abort: AbortController
  readonly compute: () => Promise<void>
  /** The worker says so itself then: too late, or nobody wanted to see it. */
  until: number
  sealed: { readonly nonce: Buffer; readonly evidence: Buffer } | undefined
}

/**
 * The checks and calibrations of one session. They are computed beside the runs, few at once, and each ends with one last
 * word: `evidence`, `class` or `checkFailed`. Evidence stays here until everybody who was asked is bound.
 */
export class CheckDesk {
  readonly #link: CheckDeskLink
  readonly #open = new Map<string, Work>()
  #waiting: Work[] = []
  #computing = 0

  constructor(link: CheckDeskLink) {
    this.#link = link
  }

  check(header: CheckHeader, body: Buffer, tokens: readonly CommittedToken[]): void {
    this.#begin(header, (signal) => this.#look(header, body, tokens, signal))
  }

  calibrate(ask: Calibrate): void {
    this.#begin(ask, (signal) => this.#classify(ask, signal))
  }

  /** Before the commitment it is refused, and the check is over. A check that is not open has had its last word. */
  reveal(check: string): void {
    const work = this.#open.get(check)
    if (!work) return
    if (!work.sealed) this.#fail(work, early)
    else this.#end(work, messageType.evidence, encodeEvidenceMessage(check, work.sealed.nonce, work.sealed.evidence))
  }

  withdraw(check: string): void {
    const work = this.#open.get(check)
    if (work) this.#fail(work, withdrawn)
  }

  /** Looks at the clock. */
  sweep(nowMs: number): void {
    for (const work of [...this.#open.values()]) if (nowMs >= work.until) this.#fail(work, tooLate)
  }

  /** The worker is leaving, or its session is gone: nothing more is looked at. */
  stop(): void {
    for (const work of [...this.#open.values()]) this.#fail(work, leaving)
  }

  #begin(
    { check, deadlineMs }: { check: string; deadlineMs: number },
    find: (signal: AbortSignal) => Promise<void>,
  ): void {
    const abort = new AbortController()
    const until = this.#link.runtime.monotonic() + deadlineMs
    const work: Work = { check, abort, compute: () => find(abort.signal), until, sealed: undefined }
    const full = this.#open.size >= workersLimits.checksPerWorkerMax
    if (full || this.#open.has(check)) {
      this.#link.send(messageType.checkFailed, encodeCheckFailed({ check, ...(full ? crowded : twice) }))
      return
    }
    this.#open.set(check, work)
    this.#waiting.push(work)
    this.#next()
  }

  #next(): void {
    while (this.#computing < agentLimits.checksAtOnce) {
      const work = this.#waiting.shift()
      if (!work) return
      this.#computing++
      void work
        .compute()
        .catch((error) => this.#fail(work, this.#refusalOf(error)))
        .finally(() => {
          this.#computing--
          this.#next()
        })
    }
  }

  async #look(
    header: CheckHeader,
    body: Buffer,
    tokens: readonly CommittedToken[],
    signal: AbortSignal,
  ): Promise<void> {
    const { check, model, digest } = header
    const engine = this.#engineFor(model, digest)
    if (!engine.verify) throw cannot
    const evidence = encodeEvidence(await engine.verify(taskOf(header, body, tokens), signal))
    if (evidence.length > protocolLimits.evidenceBytesMax) throw tooMuch
    const nonce = this.#link.runtime.randomBytes(32)
    const commitment = await this.#link.desk.commit({ check, nonce, evidence })
    const work = this.#open.get(check)
    if (!work || signal.aborted) return
    work.sealed = { nonce, evidence }
    work.until = this.#link.runtime.monotonic() + workersLimits.revealMsMax
    this.#link.send(messageType.committed, encodeCommitted(check, commitment))
  }

  async #classify({ check, model, digest, text }: Calibrate, signal: AbortSignal): Promise<void> {
    const engine = this.#engineFor(model, digest)
    if (!engine.kernelClass) throw cannot
    const found = await engine.kernelClass(model, text, signal)
    const work = this.#open.get(check)
    if (work) this.#end(work, messageType.class, encodeClass({ check, class: found }))
  }

  #engineFor(model: string, digest: string | null): Engine {
    const engine = this.#link.engines.choose(model, digest)
    if (!engine) throw new PoolError('model_not_found', 'The worker does not have this model.', 'Ask another worker.')
    return engine
  }

  #end(work: Work, type: number, body: Buffer | readonly Buffer[]): void {
    if (!this.#open.delete(work.check)) return
    this.#waiting = this.#waiting.filter((other) => other !== work)
    this.#link.send(type, body)
  }

  #fail(work: Work, { code, message, fix }: WireRefusal): void {
    this.#end(work, messageType.checkFailed, encodeCheckFailed({ check: work.check, code, message, fix }))
    work.abort.abort(new Error(code))
  }

  #refusalOf(error: unknown): WireRefusal {
    if (error instanceof PoolError) return error.refusal
    // The message of an unknown error may quote the prompt; its name does not.
    const name = error instanceof Error ? error.name : 'not an error'
    this.#link.log.warn({ error: name }, 'check failed')
    return engineFailed
  }
}

function taskOf(header: CheckHeader, body: Buffer, tokens: readonly CommittedToken[]): CheckTask {
  const { kind, model, choice, seed, maxTokens, contextTokens, replay, positions, top } = header
  const common = { model, choice, maxTokens, contextTokens, replay, tokens, top, seed: Buffer.from(seed, 'hex') }
  const asked = positions ? { ...common, positions } : common
  if (kind === 'chat') return { kind, request: accepted(parseOpenAiRequest(kind, body)), ...asked }
  return { kind, request: accepted(parseOpenAiRequest(kind, body)), ...asked }
}

function accepted<T>(parsed: { ok: true; request: T } | { ok: false; refusal: Refusal }): T {
  if (!parsed.ok) throw PoolError.from(parsed.refusal)
  return parsed.request
}

const cannot = new PoolError('unsupported_parameter', 'The engine cannot look at answers.', 'Ask another worker.')
const tooMuch = new PoolError('invalid_request', 'The evidence would be too long.', 'Ask for fewer positions.')

const early: WireRefusal = {
  code: 'reveal_refused',
  message: 'Evidence is revealed only after the commitment to it.',
  fix: 'Run the same release of lichen on both sides.',
}
const withdrawn: WireRefusal = { code: 'withdrawn', message: 'The check was withdrawn.', fix: 'Nothing.' }
const tooLate: WireRefusal = { code: 'deadline_exceeded', message: 'The time for it is over.', fix: 'Ask again.' }
const leaving: WireRefusal = { code: 'shutting_down', message: 'The worker is leaving.', fix: 'Ask another worker.' }
const crowded: WireRefusal = {
  code: 'overloaded',
  message: 'The worker has enough checks.',
  fix: 'Ask another worker.',
}
const twice: WireRefusal = { code: 'invalid_request', message: 'This check is open.', fix: 'Give each its own id.' }
const engineFailed: WireRefusal = {
  code: 'internal_error',
  message: 'The engine of the worker failed.',
  fix: 'Ask another worker.',
}
