import { PoolError } from '#protocol'
import { type Runtime, withDeadline } from '#runtime'
import type { DatabaseTarget } from '../address.ts'
import { unwritable } from '../data-dir-lock.ts'
import { codeOf } from '../errors.ts'
import { storageLimits } from '../limits.ts'
import { type Account, type AccountKind, chooseAccount } from './account.ts'
import { clusterExists, initCluster, serverUser } from './init-cluster.ts'
import { stopOrphans } from './orphan.ts'
import { type ServerProcess, startServer } from './server-process.ts'
import { serverSettings } from './settings.ts'
import { makeSocketFolder, removeSocketFolder, serverPort } from './socket-folder.ts'

export type { AccountKind }

/** What happens to the embedded server. `line` is its own log, without statements or values. */
export type EmbeddedEvent =
  | { readonly kind: 'initialising' }
  | { readonly kind: 'starting'; readonly account: AccountKind }
  | { readonly kind: 'ready'; readonly pid: number; readonly ms: number }
  | { readonly kind: 'died'; readonly how: string; readonly retryInMs: number }
  | { readonly kind: 'line'; readonly text: string }

/** A running server. It is restarted when it dies and stopped when this process ends, however it ends. */
export interface EmbeddedPostgres extends AsyncDisposable {
  readonly target: DatabaseTarget
  readonly account: AccountKind
  /** The server's process; changes when it is restarted. */
  readonly pid: number
  /** Fast shutdown: a checkpoint, no new connections. Idempotent. */
  stop(): Promise<void>
}

export interface StartOptions {
  /** Exists, is ours and locked (see lockDataDir). */
  readonly dataDir: string
  readonly runtime: Runtime
  readonly onEvent?: (event: EmbeddedEvent) => void
  /** Stops the server, also while it starts. */
  readonly signal?: AbortSignal
  /** For tests: how to run it, and where `unprivileged` keeps its files. */
  readonly account?: AccountKind
  readonly stateRoot?: string
  /** For tests and benchmarks: more settings. */
  readonly settings?: Readonly<Record<string, string>>
}

/**
 * Starts PostgreSQL on `<dataDir>/postgres`, making it at first, after ending what a killed pool left there.
 * @throws PoolError config_invalid, database_unavailable.
 */
export async function startEmbeddedPostgres(options: StartOptions): Promise<EmbeddedPostgres> {
  try {
    const account = await chooseAccount({
      ...options,
      ...(options.account === undefined ? {} : { force: options.account }),
    })
    const server = new Embedded(account, options)
    await server.start()
    return server
  } catch (error) {
    throw /^(?:EACCES|EROFS|ENOSPC|EPERM|ENOENT|ENOTDIR|EDQUOT)$/.test(codeOf(error))
      ? unwritable(options.dataDir, error)
      : error
  }
}

class Embedded implements EmbeddedPostgres {
  readonly #account: Account
  readonly #options: StartOptions
  readonly #runtime: Runtime
  readonly #stopping = new AbortController()
  #socketFolder = ''
  #process: ServerProcess | undefined
  #supervision: Promise<void> | undefined
  #stopped: Promise<void> | undefined

  constructor(account: Account, options: StartOptions) {
    this.#account = account
    this.#options = options
    this.#runtime = options.runtime
  }

  get target(): DatabaseTarget {
    return { socketDir: this.#socketFolder, port: serverPort, user: serverUser, database: 'postgres' }
  }

  get account(): AccountKind {
    return this.#account.kind
  }

  get pid(): number {
    return this.#process?.pid ?? -1
  }

  async start(): Promise<void> {
    const { signal } = this.#options
    signal?.throwIfAborted()
    signal?.addEventListener('abort', () => void this.stop(), { once: true })
    await stopOrphans(this.#account.cluster, this.#runtime)
    if (!(await clusterExists(this.#account))) {
      this.#tell({ kind: 'initialising' })
      await initCluster(this.#account, this.#options.settings?.fsync !== 'off')
    }
    this.#socketFolder = await makeSocketFolder(this.#account.home)
    await this.#account.own(this.#socketFolder)
    try {
      this.#process = await this.#run()
    } catch (error) {
      await removeSocketFolder(this.#socketFolder)
      throw unavailable(error)
    }
    this.#supervision = this.#supervise(this.#process)
  }

  /** Starts the server once and waits until it accepts connections. */
  async #run(): Promise<ServerProcess> {
    const startedAt = this.#runtime.monotonic()
    this.#tell({ kind: 'starting', account: this.#account.kind })
    const settings = { ...serverSettings(this.#socketFolder), ...this.#options.settings }
    const server = startServer(this.#account, settings, (text) => this.#tell({ kind: 'line', text }))
    const late = new Error(`PostgreSQL was not ready after ${storageLimits.startDeadlineMs / 1_000} s`)
    const stopped = rejectedOnAbort(this.#stopping.signal)
    try {
      await withDeadline(this.#runtime, storageLimits.startDeadlineMs, late, Promise.race([server.ready, stopped]))
      this.#tell({ kind: 'ready', pid: server.pid, ms: this.#runtime.monotonic() - startedAt })
      return server
    } catch (error) {
      await this.#end(server)
      throw error
    }
  }

  /** Restarts the server whenever it ends by itself. */
  async #supervise(first: ServerProcess): Promise<void> {
    let running: ServerProcess | undefined = first
    let how = ''
    for (let failures = 0; !this.#stopping.signal.aborted; failures++) {
      if (running) how = await running.ended
      running = undefined
      if (this.#stopping.signal.aborted) return
      const retryInMs = Math.min(5_000, 100 * 2 ** Math.min(failures, 6))
      this.#tell({ kind: 'died', how, retryInMs })
      try {
        await this.#runtime.sleep(retryInMs, this.#stopping.signal)
        await stopOrphans(this.#account.cluster, this.#runtime, this.#socketFolder)
        running = await this.#run()
        this.#process = running
        failures = -1
      } catch (error) {
        how = error instanceof Error ? error.message : String(error)
      }
    }
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop()
    return this.#stopped
  }

  async #stop(): Promise<void> {
    this.#stopping.abort(new PoolError('shutting_down', 'The database is being stopped.', 'Start the pool again.'))
    if (this.#process) await this.#end(this.#process)
    await this.#supervision
    if (this.#socketFolder) await removeSocketFolder(this.#socketFolder)
  }

  /** PostgreSQL documentation §18.5: SIGINT disconnects everybody, SIGQUIT leaves recovery to the next start. */
  async #end(server: ServerProcess): Promise<void> {
    const plan = [
      ['SIGINT', storageLimits.stopDeadlineMs],
      ['SIGQUIT', 5_000],
      ['SIGKILL', 5_000],
    ] as const
    for (const [signal, waitMs] of plan) {
      server.kill(signal)
      const ended = server.ended.then(() => true)
      const late = new Error('still running')
      if (await withDeadline(this.#runtime, waitMs, late, ended).catch(() => false)) return
    }
  }

  #tell(event: EmbeddedEvent): void {
    this.#options.onEvent?.(event)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }
}

function rejectedOnAbort(signal: AbortSignal): Promise<never> {
  const rejected = new Promise<never>((_, reject) => {
    if (signal.aborted) reject(signal.reason)
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
  rejected.catch(() => {})
  return rejected
}

function unavailable(error: unknown): unknown {
  if (error instanceof PoolError) return error
  return new PoolError(
    'database_unavailable',
    `The embedded database did not start. ${error instanceof Error ? error.message : String(error)}`,
    'Look at the disk it runs on, or give DATABASE_URL of a PostgreSQL 15 or newer.',
  )
}
