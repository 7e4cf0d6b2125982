import type { AgentStatus } from '#agent'
import { type Settings, surroundings } from '#config'
import { createLog } from '#observability'
import { PoolError } from '#protocol'
import { systemRuntime } from '#runtime'
import { watchLifetime } from './lifetime.ts'
import { runWorker } from './worker-program.ts'

interface ServeOptions {
  readonly invite: string | undefined
  readonly dataDir: string
  readonly settings: Settings
  readonly name: string
  readonly json: boolean
}

/** `lichen worker join`: serves until stopped. Throws the refusal it could not go on with. */
export async function serveAsWorker({ invite, dataDir, settings, name, json }: ServeOptions): Promise<void> {
  const color = process.stderr.isTTY === true && !surroundings().noColor
  const pretty = settings.logFormat === 'pretty' || (settings.logFormat === 'auto' && process.stderr.isTTY === true)
  const { log, flush } = createLog({ level: settings.logLevel, pretty, color, program: 'worker' })
  const { model, upstream, upstreamApiKey, slots, threads, shutdownTimeout } = settings
  const watchLauncher = surroundings().launchedByNpm
  const life = watchLifetime({ runtime: systemRuntime, log, flush, watchLauncher, drainMs: shutdownTimeout })
  const order = { dataDir, invite, models: model, upstreams: upstream, upstreamApiKey, slots, threads, name }
  try {
    const end = await runWorker(
      { ...order, drainMs: shutdownTimeout },
      { runtime: systemRuntime, log, life, onStatus: json ? announceAsJson() : announce },
    )
    if (end.reason === 'refused') throw new PoolError(end.why.code, end.why.message, end.why.fix)
    process.exitCode = life.exitCode
  } finally {
    flush()
  }
}

/** What the operator of this machine should know or do. */
function announce(status: AgentStatus): void {
  if (status.state === 'pending') {
    process.stderr.write(`Joined. The pool's operator must say yes: ${status.approve}\n`)
  } else if (status.state === 'ready') {
    process.stderr.write(`Serving ${status.models.join(', ') || 'no model yet'} as ${status.worker}. Ctrl-C stops.\n`)
  }
}

/** One line on stdout for each standing that is new: `pending`, `ready`. */
function announceAsJson(): (status: AgentStatus) => void {
  let last = ''
  return (status) => {
    if ((status.state !== 'pending' && status.state !== 'ready') || status.state === last) return
    last = status.state
    process.stdout.write(`${JSON.stringify(status)}\n`)
  }
}
