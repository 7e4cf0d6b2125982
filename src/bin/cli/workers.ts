import { Command } from 'commander'
import { asTyped } from '../as-typed.ts'
import { durationMs, settingsOf, withExamples, withSettings } from './options.ts'
import { clean, print, progress, size, table } from './output.ts'
import { PoolClient } from './pool-client.ts'
import { appealCommands } from './workers-appeals.ts'
import { blockCommands } from './workers-block.ts'

/** A worker as the pool lists it. */
interface WorkerRow {
  readonly id: string
  readonly operator: string
  readonly standing: string
  readonly connected: boolean
  readonly draining: boolean
  readonly circuit: 'closed' | 'open' | 'half_open'
  readonly active: number
  readonly slots: number
  readonly expires_at: string | null
  readonly tokens_per_second: number | null
  readonly models: readonly OfferedModel[]
  readonly accepts: { readonly disk_bytes: number; readonly memory_bytes: number } | null
  readonly fetching: Fetching | null
}

interface Fetching {
  readonly model: string
  readonly digest: string
  readonly bytes: number
  readonly bytes_of: number
}

interface OfferedModel {
  readonly name: string
  readonly digest: string | null
  readonly context: number
  readonly features: readonly string[]
}

interface WorkerDetails extends WorkerRow {
  readonly joined_at: string
  readonly connected_since: string | null
  readonly agent: string | null
  readonly address: string | null
  readonly acts: readonly WorkerAct[]
  readonly violations: readonly { readonly at: string; readonly message: string }[]
}

/** One act on a worker's key: who did what, when. */
interface WorkerAct {
  readonly act: string
  readonly by: string
  readonly at: string
  /** Until when its key was good after it. */
  readonly expires_at: string | null
}

export function workersCommand(): Command {
  const group = new Command()
    .addCommand(listCommand())
    .addCommand(showCommand())
    .addCommand(actCommand('approve', 'let a worker serve; its operator joined with an invite'))
    .addCommand(renewCommand())
    .addCommand(actCommand('revoke', 'end its session within a second and refuse its key from now on'))
    .addCommand(drainCommand())
    .addCommand(actCommand('reset', 'a fresh start: close its circuit, forget what checks found; recorded as an act'))
    .addCommand(verificationsCommand())
    .addCommand(reputationCommand())
  for (const command of [...blockCommands(), ...appealCommands()]) group.addCommand(command)
  return withExamples(group, [
    ['lichen workers ls', 'who is here'],
    ['lichen workers approve 3fa9c1', 'six digits of the id are enough where only one worker has them'],
  ])
}

function listCommand(): Command {
  const command = new Command('ls')
    .description('list workers')
    .action(async (options: { json?: boolean }, self: Command) => {
      const data = await new PoolClient(await settingsOf(self)).all<WorkerRow>(path)
      print(options.json === true, { object: 'list', data }, () =>
        data.length === 0
          ? asTyped('No worker has joined. Invite one: lichen invite --operator NAME')
          : table(['ID', 'OPERATOR', 'STANDING', 'SEEN', 'BUSY', 'TOKENS/S', 'MODELS'], data.map(workerLine)),
      )
    })
  return withExamples(withSettings(command, ['client']), [['lichen workers ls --json', 'for a script']])
}

function workerLine(worker: WorkerRow): string[] {
  const seen = worker.connected ? (worker.draining ? 'draining' : circuitText(worker) || 'connected') : 'away'
  const speed = worker.tokens_per_second === null ? '' : worker.tokens_per_second.toFixed(0)
  const fetched = worker.fetching ? [`${worker.fetching.model} (${progress(worker.fetching)})`] : []
  const models = [...worker.models.map((model) => model.name), ...fetched].join(', ')
  return [
    worker.id.slice(0, 12),
    worker.operator,
    worker.standing,
    seen,
    `${worker.active}/${worker.slots}`,
    speed,
    models,
  ]
}

interface VerificationRow {
  readonly id: string
  readonly job: string
  readonly worker: string
  readonly model: string
  readonly reason: string
  readonly state: string
  readonly waived: string | null
  readonly verifier: string | null
  readonly score: number | null
  readonly owed_at: string
}

interface ReputationRow {
  readonly id: string
  readonly worker: string
  readonly model: string
  readonly duty: string
  readonly phase: string
  readonly clean: number
  readonly heights: readonly number[]
  readonly weight: number
}

/** The id in full of the worker that is meant; all workers when none is named. */
async function queryOf(client: PoolClient, id: string | undefined): Promise<string> {
  return id === undefined ? '' : `?worker=${(await client.json<WorkerRow>('GET', routeOf(id))).id}`
}

function verificationsCommand(): Command {
  const command = new Command('verifications')
    .description('the log inference_verifications: which answers were looked at, by whom, and what came of it')
    .argument('[id]', idText)
    .action(async (id: string | undefined, options: { json?: boolean }, self: Command) => {
      const client = new PoolClient(await settingsOf(self))
      const data = await client.all<VerificationRow>(`/v1/admin/inference_verifications${await queryOf(client, id)}`)
      print(options.json === true, { object: 'list', data }, () =>
        data.length === 0
          ? 'No answer was owed a look yet.'
          : table(
              ['OWED', 'WORKER', 'MODEL', 'WHY', 'STATE', 'VERIFIER', 'SCORE', 'JOB'],
              data.map((row) => [
                row.owed_at,
                row.worker.slice(0, 12),
                row.model,
                row.reason,
                row.waived === null ? row.state : `${row.state}: ${row.waived}`,
                row.verifier?.slice(0, 12) ?? '',
                row.score?.toFixed(3) ?? '',
                row.job,
              ]),
            ),
      )
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen workers verifications', 'of all workers, oldest first'],
    ['lichen workers verifications 3fa9c1 --json', 'of one, for a script'],
  ])
}

function reputationCommand(): Command {
  const command = new Command('reputation')
    .description('the log worker_reputation: how each worker stands with each model')
    .argument('[id]', idText)
    .action(async (id: string | undefined, options: { json?: boolean }, self: Command) => {
      const client = new PoolClient(await settingsOf(self))
      const data = await client.all<ReputationRow>(`/v1/admin/worker_reputation${await queryOf(client, id)}`)
      print(options.json === true, { object: 'list', data }, () =>
        data.length === 0
          ? 'No worker has been looked at yet.'
          : table(
              ['WORKER', 'MODEL', 'DUTY', 'PHASE', 'CLEAN', 'CHARTS', 'WEIGHT'],
              data.map((row) => [
                row.worker.slice(0, 12),
                row.model,
                row.duty,
                row.phase,
                String(row.clean),
                row.heights.map((height) => (height / 1e6).toFixed(1)).join(' '),
                row.weight.toFixed(3),
              ]),
            ),
      )
    })
  return withExamples(withSettings(command, ['client']), [['lichen workers reputation', 'of all workers']])
}

/** What its failures of late mean for its work; nothing when they mean nothing. */
function circuitText({ circuit }: WorkerRow): string {
  return { closed: '', open: 'no work: failed too often', half_open: 'on trial' }[circuit]
}

function showCommand(): Command {
  const command = new Command('show')
    .description('everything known about one worker, and who did what to its key')
    .argument('<id>', idText)
    .action(async (id: string, options: { json?: boolean }, self: Command) => {
      const worker = await new PoolClient(await settingsOf(self)).json<WorkerDetails>('GET', routeOf(id))
      print(options.json === true, worker, () => detailsOf(worker))
    })
  return withExamples(withSettings(command, ['client']), [['lichen workers show 3fa9c1', 'one worker']])
}

function detailsOf(worker: WorkerDetails): string {
  const { id, operator, standing, expires_at, joined_at, agent, address, acts, violations } = worker
  const until = expires_at === null ? '' : `, ${standing === 'expired' ? 'since' : 'until'} ${expires_at}`
  const facts = [
    ['operator', operator],
    ['standing', `${standing}${standing === 'revoked' ? '' : until}`],
    ['joined', joined_at],
    ['session', sessionOf(worker)],
    ...(agent === null ? [] : [['program', agent]]),
    ...(address === null ? [] : [['address', address]]),
    ...acceptsOf(worker),
    ...worker.models.map((model, index) => [index === 0 ? 'models' : '', modelText(model)]),
  ]
  const history = acts.map((act) => [act.at, act.act, act.by, act.expires_at ?? ''])
  const broken = violations.map(({ at, message }) => [at, message])
  return [
    table(['WORKER', id], facts),
    table(['WHEN', 'WHAT', 'BY', 'GOOD UNTIL'], history),
    ...(broken.length === 0 ? [] : [table(['WHEN', 'BROKE THE PROTOCOL'], broken)]),
  ].join('\n\n')
}

/** What the pool may choose for it, and what it is fetching. */
function acceptsOf({ accepts, fetching }: WorkerRow): string[][] {
  const room =
    accepts &&
    `models the pool chooses: ${size(accepts.disk_bytes)} of disk, ${size(accepts.memory_bytes)} of memory free`
  const fetched = fetching && `${fetching.model}  (sha256:${fetching.digest.slice(0, 12)}), ${progress(fetching)}`
  return [...(room ? [['accepts', room]] : []), ...(fetched ? [['fetching', fetched]] : [])]
}

function sessionOf(worker: WorkerDetails): string {
  const { connected, connected_since, draining, active, slots, tokens_per_second } = worker
  const circuit = circuitText(worker)
  if (!connected) return 'away'
  const speed = tokens_per_second === null ? '' : `, ${tokens_per_second.toFixed(0)} tokens/s`
  return `since ${connected_since}, ${active} of ${slots} slots busy${speed}${draining ? ', draining' : ''}${circuit === '' ? '' : `, ${circuit}`}`
}

function modelText({ name, digest, context, features }: OfferedModel): string {
  const file = digest === null ? 'an upstream' : `sha256:${digest.slice(0, 12)}`
  return `${name}  (${file}, ${context} tokens of context; ${features.join(', ')})`
}

function actCommand(act: 'approve' | 'revoke' | 'reset', does: string): Command {
  const command = new Command(act)
    .description(does)
    .argument('<id>', idText)
    .action((id: string, options: { json?: boolean }, self: Command) => perform(act, id, {}, options, self))
  return withExamples(withSettings(command, ['client']), [
    [`lichen workers ${act} 3fa9c1`, does.split(/[;,]/)[0] ?? does],
  ])
}

function renewCommand(): Command {
  const command = new Command('renew')
    .description('let an expired or revoked worker serve again; recorded like an approval')
    .argument('<id>', idText)
    .option('--expires <time>', 'how long it may serve from now (default: as its invite said)', durationMs)
    .action((id: string, options: { json?: boolean; expires?: number }, self: Command) => {
      const body = options.expires === undefined ? {} : { expires_in_ms: options.expires }
      return perform('renew', id, body, options, self)
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen workers renew 3fa9c1 --expires 90d', 'three months more'],
  ])
}

function drainCommand(): Command {
  const command = new Command('drain')
    .description('give it nothing new; what runs may end')
    .argument('<id>', idText)
    .option('--off', 'give it work again')
    .action((id: string, options: { json?: boolean; off?: boolean }, self: Command) =>
      perform('drain', id, { on: options.off !== true }, options, self),
    )
  return withExamples(withSettings(command, ['client']), [
    ['lichen workers drain 3fa9c1', 'before its machine is restarted'],
    ['lichen workers drain 3fa9c1 --off', 'it may work again'],
  ])
}

type Act = 'reset' | 'approve' | 'renew' | 'revoke' | 'drain'

async function perform(act: Act, id: string, body: object, options: { json?: boolean }, self: Command): Promise<void> {
  const worker = await new PoolClient(await settingsOf(self)).json<WorkerRow>('POST', routeOf(id, `/${act}`), body)
  const standing = act === 'reset' ? `begins afresh, ${worker.standing}` : worker.standing
  const now = act === 'drain' ? (worker.draining ? 'draining' : 'may work') : standing
  print(options.json === true, worker, () => `${worker.id} of ${clean(worker.operator)}: ${now}.`)
}

const idText = 'the worker: its id, or the first six digits or more'
const path = '/v1/admin/workers'
const routeOf = (id: string, rest = '') => `${path}/${encodeURIComponent(id)}${rest}`
