import type { Engine, EngineSink, EngineTask } from '#engines'
import {
  type DispatchHeader,
  type FinishReason,
  messageType,
  PoolError,
  parseOpenAiRequest,
  type Refusal,
  refusalCodes,
  type Signed,
  type UsageClaim,
} from '#protocol'
import type { Runtime } from '#runtime'
import { encodeEnd, encodeFailed } from '#workers'
import type { AgentLog } from './engine-set.ts'
import { agentLimits } from './limits.ts'
import { type Flushers, Outbox } from './outbox.ts'
import type { PaperDesk } from './papers.ts'

/** What a run needs of its session. */
export interface AgentRunLink {
  readonly runtime: Runtime
  readonly log: AgentLog
  readonly flushers: Flushers
  readonly desk: PaperDesk
  /** Kernel class that the pool has measured of this worker with the model; null when none was. */
  readonly kernel: string | null
  send(type: number, body: Buffer): void
  /** The run's last message has been sent. */
  ended(run: AgentRun): void
}

type LastWord = { readonly type: number; readonly body: Buffer }
type StopReason = 'cancelled' | 'deadline' | 'abandoned' | 'broken'

/**
 * One dispatched request on its engine. Whatever happens it ends with exactly one `end` or `failed`, the answer to a
 * cancel included; only an abandoned run (its session is gone) says nothing more.
 */
export class AgentRun {
  readonly stream: number
  readonly #header: DispatchHeader
  readonly #link: AgentRunLink
  readonly #assignment: Signed<'assignment/1'>
  readonly #outbox: Outbox
  readonly #abort = new AbortController()
  readonly #stuck = Promise.withResolvers<never>()
  readonly #deadlineAt: number
  #stopReason: StopReason | undefined
  /** Once the engine has computed the prompt. */
  #promptTokens = 0
  #stopBy = Number.POSITIVE_INFINITY
  /** How its tokens were chosen, as far as anyone could repeat it. */
  #sampler: 'sampler/1' | 'native' | 'upstream' = 'sampler/1'

  constructor(header: DispatchHeader, assignment: Signed<'assignment/1'>, link: AgentRunLink) {
    this.stream = header.stream
    this.#header = header
    this.#assignment = assignment
    this.#link = link
    this.#deadlineAt = link.runtime.monotonic() + header.deadlineMs
    this.#outbox = new Outbox(header.stream, header.credit, link.flushers, (type, body) => link.send(type, body))
  }

  start(engine: Engine | undefined, body: Buffer): void {
    void this.#compute(engine, body).then((last) => {
      this.#outbox.stop()
      if (this.#stopReason !== 'abandoned') this.#link.send(last.type, last.body)
      this.#link.ended(this)
    })
  }

  give(credit: number): void {
    this.#outbox.give(credit)
  }

  /** Stops at the next token; what was computed and not sent is dropped. */
  stop(reason: StopReason): void {
    if (this.#stopReason) return
    this.#stopReason = reason
    this.#stopBy = this.#link.runtime.monotonic() + agentLimits.engineStopMsMax
    this.#outbox.stop()
    this.#abort.abort(new Error(reason))
  }

  /** Looks at the clock: the deadline, and an engine that does not stop. */
  sweep(nowMs: number): void {
    if (nowMs >= this.#deadlineAt) this.stop('deadline')
    if (nowMs < this.#stopBy) return
    this.#stopBy = Number.POSITIVE_INFINITY
    this.#link.log.warn({ stream: this.stream }, 'engine did not stop; its run is given up')
    this.#stuck.reject(new Error('the engine did not stop'))
  }

  async #compute(engine: Engine | undefined, body: Buffer): Promise<LastWord> {
    try {
      if (!engine) throw new PoolError('model_not_found', 'The worker no longer has this model.', 'Ask another worker.')
      const task = this.#task(body)
      if (task.isolated && engine.kind !== 'llama') throw notAlone
      this.#sampler = samplerOf(engine, task)
      this.#outbox.whole = task.kind !== 'embedding' && task.request.stream !== true
      const work = engine.run(task, this.#sink(), this.#abort.signal)
      const { finish, usage } = await Promise.race([work, this.#stuck.promise])
      await this.#outbox.drained()
      if (this.#stopReason) return this.#stopped(this.#stopReason)
      return await this.#end(finish, usage)
    } catch (error) {
      return this.#stopReason ? this.#stopped(this.#stopReason) : this.#failed(error)
    }
  }

  /** The end, with a statement over what was sent. */
  async #end(finish: FinishReason, claim: UsageClaim): Promise<LastWord> {
    const { hash } = this.#outbox
    const usage = { prompt: claim.promptTokens, completion: claim.completionTokens }
    const { kernel } = this.#link
    const computed = { sent: hash.digest(), tokens: hash.pieces, usage, kernel, sampler: this.#sampler, finish }
    const statement = await this.#link.desk.attest(this.#assignment, computed)
    return { type: messageType.end, body: encodeEnd({ stream: this.stream, finish, ...claim, statement }) }
  }

  #task(body: Buffer): EngineTask {
    const { kind, model, choice, seed, maxTokens, resume } = this.#header
    const isolated = this.#assignment.message.decode === 'isolated'
    const common = { model, body, choice, seed: Buffer.from(seed, 'hex'), maxTokens, resume, isolated }
    switch (kind) {
      case 'chat':
        return { kind, request: accepted(parseOpenAiRequest(kind, body)), ...common }
      case 'completion':
        return { kind, request: accepted(parseOpenAiRequest(kind, body)), ...common }
      case 'embedding':
        return { kind, request: accepted(parseOpenAiRequest(kind, body)), ...common }
    }
  }

  /** An engine that gives what the protocol cannot carry is broken; its run fails, the worker lives. */
  #sink(): EngineSink {
    const guard = <T>(put: () => T): T | undefined => {
      try {
        return put()
      } catch (error) {
        this.#link.log.warn({ stream: this.stream, error: String(error) }, 'engine output refused')
        this.stop('broken')
        return undefined
      }
    }
    return {
      tokens: (tokens) => guard(() => this.#outbox.tokens(tokens)),
      prompt: (tokens) => {
        this.#promptTokens = tokens
      },
      delta: (delta) => guard(() => this.#outbox.delta(delta)),
      vector: (index, values) => guard(() => this.#outbox.vector(index, values)),
    }
  }

  #stopped(reason: StopReason): LastWord | Promise<LastWord> {
    if (reason === 'deadline') return this.#refused(tooLate, false)
    if (reason === 'broken') return this.#refused(engineFailed, true)
    const completionTokens = this.#outbox.sentTokens
    return this.#end('stop', { promptTokens: completionTokens > 0 ? this.#promptTokens : 0, completionTokens })
  }

  /** Tokens that were computed before the failure still go out: a takeover continues after them. */
  #failed(error: unknown): LastWord {
    this.#outbox.flush()
    if (error instanceof PoolError) {
      return this.#refused(error.refusal, error === notAlone || refusalCodes[error.code].status >= 500)
    }
    // The message of an unknown error may quote the prompt; its name and place do not.
    const { name, stack } = error instanceof Error ? error : new Error('not an error')
    const at = stack?.split('\n').find((line) => line.startsWith('    at '))
    this.#link.log.warn({ stream: this.stream, error: name, at: at?.trim() }, 'engine failed')
    return this.#refused(engineFailed, true)
  }

  #refused({ code, message, fix, param }: Refusal, retry: boolean): LastWord {
    const failed = { stream: this.stream, retry, code, message, fix, param: param ?? null }
    return { type: messageType.failed, body: encodeFailed(failed) }
  }
}

/** Which sampler an engine uses for a task: a grammar needs llama.cpp's own, an upstream does not tell. */
function samplerOf({ kind }: Engine, task: EngineTask): 'sampler/1' | 'native' | 'upstream' {
  if (kind === 'openai') return 'upstream'
  const constrained = task.kind === 'chat' && (task.request.response_format?.type ?? 'text') !== 'text'
  return constrained ? 'native' : 'sampler/1'
}

function accepted<T>(parsed: { ok: true; request: T } | { ok: false; refusal: Refusal }): T {
  if (!parsed.ok) throw PoolError.from(parsed.refusal)
  return parsed.request
}

/** Its statement would not be true. */
const notAlone = new PoolError(
  'assignment_refused',
  'The engine of this model computes every answer beside others.',
  'Assign it to a worker that has the model file.',
)

const tooLate: Refusal = {
  code: 'deadline_exceeded',
  message: 'The answer was not finished within its time.',
  fix: 'Ask for fewer tokens, or try again when the pool is less busy.',
}

const engineFailed: Refusal = {
  code: 'internal_error',
  message: 'The engine of the worker failed.',
  fix: 'Try again; look at the log of the worker when it repeats.',
}
