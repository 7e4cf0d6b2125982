import type { Log } from '#observability'
import type { Runtime } from '#runtime'
import { binLimits } from './limits.ts'

/** How a long-running program is told to end. */
export interface Lifetime {
  /** Finish what runs, take nothing new: SIGINT, SIGTERM, or the launcher or parent is gone. */
  readonly stopping: AbortSignal
  /** Do not even finish what runs: a second signal, or our own mistake. */
  readonly atOnce: AbortSignal
  /** Ends the program by itself; `exitCode` is what the command then says. */
  stop(reason: string, exitCode?: number): void
  exitCode: number
}

interface LifetimeOptions {
  readonly runtime: Runtime
  readonly log: Log
  /** Before the process is ended by force. */
  readonly flush: () => void
  /** npm is our parent and may be killed without telling us. */
  readonly watchLauncher: boolean
  /** How long what runs may go on once told to stop, milliseconds. */
  readonly drainMs: number
}

/** Listens to signals and to what nobody caught. One per process. */
export function watchLifetime({ runtime, log, flush, watchLauncher, drainMs }: LifetimeOptions): Lifetime {
  const stopping = new AbortController()
  const atOnce = new AbortController()
  const force = () => {
    flush()
    process.exit(life.exitCode || 1)
  }
  const hurry = () => {
    if (atOnce.signal.aborted) return
    atOnce.abort()
    runtime.after(binLimits.forcedEndMs, force)
  }
  const life: Lifetime = {
    stopping: stopping.signal,
    atOnce: atOnce.signal,
    exitCode: 0,
    stop(reason, exitCode = 0) {
      if (stopping.signal.aborted) return
      life.exitCode = exitCode
      log.info({ reason }, 'stopping')
      runtime.after(drainMs + binLimits.forcedEndMs, force)
      stopping.abort(new Error(reason))
    },
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => (stopping.signal.aborted ? hurry() : life.stop(`got ${signal}`)))
  }
  const broken = (error: unknown, what: string) => {
    log.fatal({ err: error }, what)
    life.stop(what, 1)
    life.exitCode = 1
    hurry()
  }
  process.on('uncaughtException', (error) => broken(error, 'uncaught error'))
  process.on('unhandledRejection', (error) => broken(error, 'unhandled rejection'))
  if (watchLauncher) {
    const launcher = process.ppid
    runtime.every(binLimits.launcherCheckMs, () => {
      if (process.ppid !== launcher) life.stop('the launcher is gone')
    })
  }
  return life
}
