/**
 * A worker with a real agent, a real llama.cpp and a cheat in between, for tests and the demo:
 *
 *     node -C lichen-source src/testkit/cheating-worker.ts '{"invite":…,"dataDir":…,"model":…,"cheat":"caches","rate":0.3}'
 *
 * One JSON line on stdout for each new standing (`pending`, `ready`), as `lichen worker join --json`; SIGTERM ends it.
 */
import { runAgent } from '#agent'
import { openLlamaEngine } from '#engines'
import { systemRuntime } from '#runtime'
import { type Cheat, type cheatKinds, DishonestEngine } from './dishonest-engine.ts'

export interface CheatingWorkerPlan {
  readonly invite: string
  readonly dataDir: string
  /** GGUF file it says it computes with. */
  readonly model: string
  /** GGUF file it really computes with, for `substitute`. */
  readonly otherModel?: string
  /** Of llama.cpp: makes its kernel class differ from others on this machine. */
  readonly cpuBuild?: string
  /** `honest`: nothing; a worker with a build of choice. */
  readonly cheat: (typeof cheatKinds)[number] | 'honest'
  readonly rate: number
}

const plan: CheatingWorkerPlan = JSON.parse(process.argv[2] ?? '{}')
const quiet = { info() {}, warn() {} }
const open = (path: string) => {
  const { cpuBuild } = plan
  const build = cpuBuild === undefined ? {} : { cpuBuild }
  return openLlamaEngine({ models: [{ path }], threads: 1, ...build, runtime: systemRuntime, log: quiet })
}

async function cheatOf(): Promise<Cheat | undefined> {
  switch (plan.cheat) {
    case 'honest':
      return undefined
    case 'substitute':
      return { kind: 'substitute', other: await open(plan.otherModel ?? plan.model) }
    case 'stops_early':
      return { kind: 'stops_early', tokens: 2 }
    default:
      return { kind: plan.cheat }
  }
}

const [honest, cheat] = await Promise.all([open(plan.model), cheatOf()])
await using engine = cheat ? new DishonestEngine(honest, { cheat, rate: plan.rate }) : honest
const stop = new AbortController()
process.once('SIGTERM', () => stop.abort())
let last = ''
await runAgent({
  invite: plan.invite,
  dataDir: plan.dataDir,
  engines: [engine],
  agent: 'a worker of the tests',
  runtime: systemRuntime,
  log: quiet,
  signal: stop.signal,
  stopNow: stop.signal,
  onStatus: (status) => {
    if ((status.state !== 'pending' && status.state !== 'ready') || status.state === last) return
    last = status.state
    process.stdout.write(`${JSON.stringify(status)}\n`)
  },
})
