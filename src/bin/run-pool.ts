import { type Settings, surroundings } from '#config'
import { createLog } from '#observability'
import { systemRuntime } from '#runtime'
import { announceReady } from './announce-ready.ts'
import { watchLifetime } from './lifetime.ts'
import { startPool } from './start-pool.ts'

interface RunPoolOptions {
  readonly settings: Settings
  /** `up`: with a worker of its own. */
  readonly localWorker: boolean
  readonly json: boolean
}

/** `lichen up` and `lichen pool`: from the first look at the data folder until the last thing is closed. */
export async function runPool({ settings, localWorker, json }: RunPoolOptions): Promise<void> {
  const startedAt = systemRuntime.monotonic()
  const logStyle = styleOf(settings)
  const { log, flush } = createLog({ ...logStyle, program: 'pool' })
  const { launchedByNpm } = surroundings()
  const life = watchLifetime({
    runtime: systemRuntime,
    log,
    flush,
    watchLauncher: launchedByNpm,
    drainMs: settings.shutdownTimeout,
  })
  const progress = (step: string) => process.stderr.write(`${step}…\n`)
  try {
    await using pool = await startPool({
      settings,
      localWorker,
      life,
      log,
      logStyle,
      progress,
      runtime: systemRuntime,
      launcher: launchedByNpm ? process.ppid : undefined,
    })
    if (!life.stopping.aborted) announceReady({ pool, settings, json, tookMs: systemRuntime.monotonic() - startedAt })
    await new Promise<void>((resolve) => {
      if (life.stopping.aborted) resolve()
      else life.stopping.addEventListener('abort', () => resolve(), { once: true })
    })
  } catch (error) {
    // told to stop while it started: what it then fails with is not news
    if (!life.stopping.aborted || life.exitCode !== 0) throw error
  } finally {
    flush()
  }
  process.exitCode = life.exitCode
}

function styleOf(settings: Settings): { level: string; pretty: boolean; color: boolean } {
  const terminal = process.stderr.isTTY === true
  return {
    level: settings.logLevel,
    pretty: settings.logFormat === 'pretty' || (settings.logFormat === 'auto' && terminal),
    color: terminal && !surroundings().noColor,
  }
}
