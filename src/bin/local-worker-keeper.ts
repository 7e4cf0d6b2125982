import { type ChildProcess, fork } from 'node:child_process'
import type { AgentStatus } from '#agent'
import { childEnvironment, childProgram } from '#config'
import type { Log } from '#observability'
import { PoolError, type Refusal } from '#protocol'
import type { Runtime } from '#runtime'
import { binLimits } from './limits.ts'
import type { LocalWorkerStart } from './local-worker.ts'
import type { WorkerOrder } from './worker-program.ts'

export interface KeeperOptions {
  readonly runtime: Runtime
  readonly log: Log
  readonly logStyle: LocalWorkerStart['log']
  /** What to lend; asked at each start. `unknown`: the pool did not know the worker, so it needs an invite. */
  order(unknown: boolean): Promise<WorkerOrder>
  /** It waits for approval, or its time is over: its operator, who started us, says yes. */
  approve(workerId: string): Promise<void>
  renew(workerId: string): Promise<void>
}

/** Messages of the local worker. */
type Word = { readonly status: AgentStatus } | { readonly refused: Pick<Refusal, 'code' | 'message' | 'fix'> }

/** Keeps the local worker running. A crash is answered with a new start; a refusal for good is not. */
export class LocalWorkerKeeper {
  readonly #options: KeeperOptions
  readonly #ready = Promise.withResolvers<void>()
  #child: ChildProcess | undefined
  #failures = 0
  #hasServed = false
  #stopping = false
  /** Nothing starts it again by itself. */
  #over = false
  #worker = ''
  #refused: Pick<Refusal, 'code' | 'message' | 'fix'> | undefined

  constructor(options: KeeperOptions) {
    this.#options = options
  }

  /** Resolves once it serves, or was revoked; rejects with the PoolError it could not begin with. */
  async start(): Promise<void> {
    void this.#run()
    return this.#ready.promise
  }

  /** Its key is good again: one that was refused for good is started once more. */
  approved(workerId: string): void {
    if (workerId !== this.#worker || !this.#over || this.#stopping) return
    this.#over = false
    void this.#run()
  }

  /** Tells it to drain; it is killed when it takes longer than it may. */
  async stop(atOnce: AbortSignal, drainMs: number): Promise<void> {
    this.#stopping = true
    const child = this.#child
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const ended = new Promise((resolve) => child.once('exit', resolve))
    const kill = () => child.kill('SIGKILL')
    // Not a second SIGTERM: two that arrive together are one. Its engine ends with it.
    if (atOnce.aborted) kill()
    else child.kill('SIGTERM')
    atOnce.addEventListener('abort', kill, { once: true })
    const timer = this.#options.runtime.after(drainMs + binLimits.killAfterMs, kill)
    await ended
    timer.cancel()
    atOnce.removeEventListener('abort', kill)
  }

  async #run(): Promise<void> {
    while (!this.#stopping) {
      const startedAt = this.#options.runtime.monotonic()
      const how = await this.#once().catch((error: unknown) => String(error))
      this.#over = !this.#stopping && (await this.#isOver(how))
      if (this.#stopping || this.#over) return
      if (this.#options.runtime.monotonic() - startedAt > binLimits.healthyMs) this.#failures = 0
      const pauseMs = Math.min(binLimits.restartMsMax, binLimits.restartMsMin * 2 ** Math.min(this.#failures++, 10))
      this.#options.log.warn({ how, pauseMs }, 'local worker ended; starting it again')
      await this.#options.runtime.sleep(pauseMs)
    }
  }

  /** One life of the process; says how it ended. */
  async #once(): Promise<string> {
    const order = await this.#options.order(this.#refused?.code === 'worker_unknown')
    this.#refused = undefined
    if (this.#stopping) return 'stopped'
    const { file, execArgv } = childProgram('bin/local-worker')
    const child = fork(file, [], { execArgv, env: childEnvironment(), stdio: ['ignore', 2, 2, 'ipc'] })
    this.#child = child
    child.on('message', (word) => this.#heard(word as Word))
    child.send({ order, log: this.#options.logStyle } satisfies LocalWorkerStart, () => {})
    return new Promise((resolve) => {
      child.once('error', (error) => resolve(error.message))
      child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`))
    })
  }

  #heard(word: Word): void {
    if ('refused' in word) {
      this.#refused = word.refused
      return
    }
    const { status } = word
    if ('worker' in status) this.#worker = status.worker
    if (status.state === 'ready') {
      this.#failures = 0
      this.#hasServed = true
      this.#ready.resolve()
    }
    if (status.state === 'pending') {
      this.#options.approve(status.worker).catch((error: unknown) => {
        this.#options.log.error({ err: error }, 'the local worker could not be approved')
      })
    }
  }

  /** Whether trying again would not help. */
  async #isOver(how: string): Promise<boolean> {
    const refused = this.#refused
    if (!refused && (this.#hasServed || this.#failures < binLimits.firstFailuresMax - 1)) return false
    if (!refused) {
      const sentence = `The local worker cannot be started: it ended ${binLimits.firstFailuresMax} times (${how}).`
      this.#ready.reject(
        new PoolError('internal_error', sentence, 'See the lines above; `lichen doctor` looks closer.'),
      )
      return true
    }
    if (refused.code === 'worker_unknown') return false
    if (refused.code === 'worker_expired') {
      await this.#options.renew(this.#worker)
      return false
    }
    // the owner's own decision does not keep the pool from starting, and only a running pool can renew the worker
    if (refused.code === 'worker_revoked') this.#ready.resolve()
    else this.#ready.reject(new PoolError(refused.code, refused.message, refused.fix))
    this.#options.log.error({ code: refused.code, fix: refused.fix }, `local worker: ${refused.message}`)
    return true
  }
}
