import type { AgentStatus } from '#agent'
import { type Settings, surroundings } from '#config'
import { createLog } from '#observability'
import { PoolError } from '#protocol'
import { systemRuntime } from '#runtime'
import { clean, counted } from './cli/output.ts'
import { Closers } from './closers.ts'
import { watchLifetime } from './lifetime.ts'
import { takeDataFolder } from './take-data-folder.ts'
import { runWorker } from './worker-program.ts'

interface ServeOptions {
  readonly invite: string | undefined
  readonly dataDir: string
  readonly settings: Settings
  readonly name: string
  readonly json: boolean
  /** Done first, when the folder is its own. */
  readonly prepare: () => Promise<void>
}

/** `lichen worker join`: serves until stopped. Throws the refusal it could not go on with. */
export async function serveAsWorker({ invite, dataDir, settings, name, json, prepare }: ServeOptions): Promise<void> {
  const color = process.stderr.isTTY === true && !surroundings().noColor
  const pretty = settings.logFormat === 'pretty' || (settings.logFormat === 'auto' && process.stderr.isTTY === true)
  // a person is told in sentences, and only once
  const level = pretty && !json && settings.logLevel === 'info' ? 'warn' : settings.logLevel
  const { log, flush } = createLog({ level, pretty, color, program: 'worker' })
  const onStatus = json ? announceAsJson() : pretty ? announce : () => {}
  const { model, upstream, upstreamApiKey, slots, threads, payerSignature, upstreamInside, shutdownTimeout } = settings
  const watchLauncher = surroundings().launchedByNpm
  const life = watchLifetime({ runtime: systemRuntime, log, flush, watchLauncher, drainMs: shutdownTimeout })
  const modelSpace = settings.acceptModels ? settings.modelSpace : undefined
  const engines = { models: model, upstreams: upstream, upstreamApiKey, slots, threads, modelSpace }
  const lent = { ...engines, payerSignature, upstreamInside }
  const order = { dataDir, invite, name, ...lent }
  const closers = new Closers()
  const launcher = watchLauncher ? process.ppid : undefined
  try {
    await takeDataFolder({ data: dataDir, runs: 'worker', runtime: systemRuntime, life, launcher }, closers)
    await prepare()
    const end = await runWorker({ ...order, drainMs: shutdownTimeout }, { runtime: systemRuntime, log, life, onStatus })
    if (end.reason === 'refused') throw new PoolError(end.why.code, end.why.message, end.why.fix)
    process.exitCode = life.exitCode
  } finally {
    await closers.close((what, error) => log.warn({ err: error, what }, 'could not be closed'))
    flush()
  }
}

/** What the person at this machine should know or do. */
function announce(status: AgentStatus): void {
  const sentence = sentenceFor(status)
  if (sentence !== undefined) process.stderr.write(`${clean(sentence)}\n`)
}

function sentenceFor(status: AgentStatus): string | undefined {
  switch (status.state) {
    case 'connecting':
      return `Connecting to ${status.url} as ${status.worker.slice(0, 12)}…`
    case 'pending':
      return `Joined. The pool's operator must say yes: ${status.approve}`
    case 'ready':
      return `Serving ${status.models.join(', ') || 'no model yet'}. Ctrl-C stops.`
    case 'waiting':
      return `${status.why.message} Trying again in ${Math.ceil(status.retryInMs / 1_000)} s.`
    case 'draining':
      return status.running > 0 ? `Ending ${counted(status.running, 'answer', 'answers')} under way…` : undefined
    default:
      return undefined // a refusal is said when the command ends
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
