import { type ChildProcess, fork } from 'node:child_process'
import { childEnvironment } from '#config'
import { type CheckTask, type Evidence, type ModelOffer, PoolError, type Token } from '#protocol'
import { deadlineSignal, type Runtime, type Timer, withDeadline } from '#runtime'
import type { EngineEnd, EngineLog, EngineSink, EngineTask } from '../engine.ts'
import { engineLimits } from '../limits.ts'
import type { EngineCommand, EngineEvent, EngineResult, EngineSettings } from './engine-messages.ts'

/** A program of ours and the arguments Node needs to run it. */
export interface ProgramFile {
  readonly file: string
  readonly execArgv: string[]
}

/** The process ended while it computed a request. */
export class EngineDied extends Error {
  /** Whether this request may be why. */
  readonly blamed: boolean

  constructor(reason: string, blamed: boolean) {
    super(reason)
    this.blamed = blamed
  }
}

interface Running {
  readonly id: number
  readonly fingerprint: string
  readonly sink: EngineSink
  readonly settle: PromiseWithResolvers<EngineResult>
  /** While the sink is busy with earlier tokens: later ones, and the end, come behind them. */
  busy: Promise<void> | undefined
  /** Tokens the sink has taken since the process was last told. */
  taken: number
  /** Set once cancelled: what still comes is dropped, and a process that does not listen is killed. */
  overdue: Timer | undefined
}

/**
 * llama.cpp orders the logits of a mixed batch when they are first read (`output_reorder`), without a lock, and the
 * binding reads those of all sequences at once on libuv's threads: some answers then continued with another
 * position's logits (14 of 202 measured). On one thread each read waits for the one before. A batch's own threads are apart.
 */
const oneNativeThread = { UV_THREADPOOL_SIZE: '1' }

/** Lines of native code that say why it gave up; any other line might quote a request. */
const lastWords = /GGML_ASSERT|ggml_abort|terminate called|what\(\):|out of memory|CUDA error|Segmentation fault/i

/** A check computes no answer. */
const noSink: EngineSink = { tokens() {}, delta() {}, vector() {} }

const unexpected = ({ type }: EngineResult) => new Error(`the engine process answered with "${type}"`)

/** One engine process, from its start to its end. */
export class EngineProcess {
  /** It ended although nobody closed it. Called once, with the fingerprints of the requests that may be why. */
  onDown: ((reason: string, blamed: readonly string[]) => void) | undefined
  readonly #child: ChildProcess
  readonly #runtime: Runtime
  readonly #log: EngineLog
  readonly #running = new Map<number, Running>()
  readonly #opened = Promise.withResolvers<readonly ModelOffer[]>()
  readonly #exited = Promise.withResolvers<void>()
  #ids = 0
  #closing = false
  #ended = false
  #hint = ''
  #beat: Timer | undefined
  #beatsMissed = 0
  /** Why we killed it, and for which request if for one. */
  #killed: { readonly why: string; readonly culprit: Running | undefined } | undefined

  constructor(entry: ProgramFile, runtime: Runtime, log: EngineLog) {
    this.#runtime = runtime
    this.#log = log
    this.#child = fork(entry.file, [], {
      execArgv: entry.execArgv,
      env: { ...childEnvironment(), ...oneNativeThread },
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    })
    this.#opened.promise.catch(() => {}) // may be rejected when nobody waits any more
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => this.#listen(text))
    this.#child.on('message', (events: EngineEvent[]) => {
      this.#beatsMissed = 0
      for (const event of events) this.#take(event)
    })
    this.#child.on('error', (error) => this.#end(error.message))
    this.#child.once('exit', (code, signal) => this.#end(signal ?? `exit code ${code}`))
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  /** Loads the models. Rejects with `PoolError` `model_unreadable`. */
  async open(settings: EngineSettings): Promise<readonly ModelOffer[]> {
    this.#send({ type: 'open', settings })
    const fix = 'Use a smaller model or a faster disk.'
    const late = new PoolError('model_unreadable', 'The models were not loaded in time.', fix)
    const offers = await withDeadline(this.#runtime, engineLimits.loadMsMax, late, this.#opened.promise)
    // Counted in our own turns, not by the clock: when this program was held up, the beats wait in the channel.
    if (!this.#ended) this.#beat = this.#runtime.every(engineLimits.beatMs, () => this.#listenForBeat())
    return offers
  }

  /** See `Engine.run`. Rejects with {@link EngineDied} when the process ends. */
  async run(task: EngineTask, fingerprint: string, sink: EngineSink, signal: AbortSignal): Promise<EngineEnd> {
    const { body: _, ...rest } = task
    const result = await this.#ask((id) => ({ type: 'run', id, task: rest }), fingerprint, sink, signal)
    if (result.type !== 'end') throw unexpected(result)
    return result.end
  }

  /** See `Engine.verify`. Rejects with {@link EngineDied} when the process ends. */
  async verify(task: CheckTask, fingerprint: string, signal: AbortSignal): Promise<Evidence> {
    const result = await this.#ask((id) => ({ type: 'verify', id, task }), fingerprint, noSink, signal)
    if (result.type !== 'evidence') throw unexpected(result)
    return result.evidence
  }

  /** See `Engine.kernelClass`. Rejects with {@link EngineDied} when the process ends. */
  async kernelClass(model: string, text: string, fingerprint: string, signal: AbortSignal): Promise<string> {
    const result = await this.#ask((id) => ({ type: 'classify', id, model, text }), fingerprint, noSink, signal)
    if (result.type !== 'class') throw unexpected(result)
    return result.kernelClass
  }

  async #ask(
    commandOf: (id: number) => EngineCommand,
    fingerprint: string,
    sink: EngineSink,
    signal: AbortSignal,
  ): Promise<EngineResult> {
    const settle = Promise.withResolvers<EngineResult>()
    const id = ++this.#ids
    const running: Running = { id, fingerprint, sink, settle, busy: undefined, taken: 0, overdue: undefined }
    this.#running.set(running.id, running)
    this.#send(commandOf(id))
    const stop = () => this.#cancel(running, signal.reason)
    signal.addEventListener('abort', stop, { once: true })
    try {
      return await settle.promise
    } finally {
      signal.removeEventListener('abort', stop)
    }
  }

  /** Ends the process: asked first, killed when it does not listen. */
  async close(): Promise<void> {
    this.#closing = true
    this.#send({ type: 'close' })
    using deadline = deadlineSignal(this.#runtime, engineLimits.closeMsMax, new Error('did not close'))
    deadline.signal.addEventListener('abort', () => this.#child.kill('SIGKILL'))
    await this.#exited.promise
  }

  #send(command: EngineCommand): void {
    if (this.#child.connected) this.#child.send(command, () => {}) // a failed send is followed by 'exit'
  }

  #cancel(running: Running, reason: unknown): void {
    running.settle.reject(reason)
    if (running.overdue || !this.#running.has(running.id)) return
    this.#send({ type: 'cancel', id: running.id })
    running.overdue = this.#runtime.after(engineLimits.cancelMsMax, () => this.#kill('did not cancel', running))
  }

  #listenForBeat(): void {
    if (++this.#beatsMissed > engineLimits.beatsMissedMax) this.#kill('silent', undefined)
  }

  #kill(why: string, culprit: Running | undefined): void {
    this.#killed ??= { why, culprit }
    this.#child.kill('SIGKILL')
  }

  #take(event: EngineEvent): void {
    if (event.type === 'ready') this.#opened.resolve(event.offers)
    else if (event.type === 'unusable') this.#opened.reject(PoolError.from(event.refusal))
    else if (event.type === 'log') this.#log[event.level](event.fields, event.message)
    else if (event.type === 'beat') {
      if (event.overdueMs !== undefined)
        this.#kill(`no progress for ${Math.round(event.overdueMs / 1000)} s`, undefined)
    } else {
      const running = this.#running.get(event.id)
      if (running) this.#progress(running, event)
    }
  }

  #progress(running: Running, event: Extract<EngineEvent, { id: number }>): void {
    if (event.type === 'tokens') this.#behind(running, () => this.#deliver(running, event.tokens))
    else if (event.type === 'prompt') running.sink.prompt?.(event.tokens)
    else if (event.type === 'vector') this.#behind(running, () => running.sink.vector(event.index, event.values))
    else {
      this.#running.delete(event.id)
      running.overdue?.cancel()
      this.#behind(running, () => {
        if (event.type === 'result') running.settle.resolve(event.result)
        else if (event.type === 'refused') running.settle.reject(PoolError.from(event.refusal))
        else if (event.type === 'broken') running.settle.reject(new Error(event.message))
        else running.settle.reject(new Error('the engine is closed')) // unless it was cancelled from here
      })
    }
  }

  /** Runs `step` behind what the sink is busy with; a sink that fails ends the task. */
  #behind(running: Running, step: () => void | Promise<void>): void {
    if (running.overdue) return
    const failed = (error: unknown) => this.#cancel(running, error)
    try {
      const busy = running.busy ? running.busy.then(step) : step()
      if (!busy) return
      const until: Promise<void> = busy.catch(failed).then(() => {
        if (running.busy === until) running.busy = undefined
      })
      running.busy = until
    } catch (error) {
      failed(error)
    }
  }

  #deliver(running: Running, tokens: Token[]): Promise<void> | undefined {
    const done = () => this.#acknowledge(running, tokens.length)
    const busy = running.sink.tokens(tokens)
    if (busy) return busy.then(done)
    done()
    return undefined
  }

  /** Tells the process what the sink has taken, in quarters of what it may be ahead. */
  #acknowledge(running: Running, tokens: number): void {
    running.taken += tokens
    if (running.taken < engineLimits.tokensAheadMax / 4) return
    this.#send({ type: 'taken', id: running.id, tokens: running.taken })
    running.taken = 0
  }

  #listen(text: string): void {
    const line = text.split('\n').find((one) => lastWords.test(one))
    if (line !== undefined) this.#hint = `: ${line.slice(0, 300)}`
  }

  #end(how: string): void {
    if (this.#ended) return
    this.#ended = true
    this.#beat?.cancel()
    const reason = `The engine process ended (${this.#killed?.why ?? how})${this.#hint}.`
    const fix = 'Check memory and the model file; `lichen doctor` helps.'
    this.#opened.reject(new PoolError('model_unreadable', reason, fix))
    const { culprit } = this.#killed ?? {}
    const blamed: string[] = []
    for (const running of this.#running.values()) {
      running.overdue?.cancel()
      const mayBeWhy = !this.#closing && (culprit === undefined || culprit === running)
      if (mayBeWhy) blamed.push(running.fingerprint)
      running.settle.reject(new EngineDied(reason, mayBeWhy))
    }
    this.#running.clear()
    this.#exited.resolve()
    if (!this.#closing) this.onDown?.(reason, blamed)
  }
}
