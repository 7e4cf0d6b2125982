import { Command } from 'commander'
import { asTyped } from '../as-typed.ts'
import { settingsOf, withExamples, withSettings } from './options.ts'
import { print, progress, table } from './output.ts'
import { PoolClient } from './pool-client.ts'

/** What `GET /v1/admin/status` answers. */
interface Status {
  readonly pool: string
  readonly version: string
  readonly uptime_seconds: number
  readonly ready: boolean
  readonly reason: string | null
  readonly database: { readonly kind: string; readonly answers: boolean }
  readonly queue: { readonly jobs: number; readonly waiting: number; readonly max: number }
  readonly workers: {
    readonly approved: number
    readonly pending: number
    readonly slots: number
    readonly busy: number
  }
  readonly fetching: readonly { worker: string; model: string; bytes: number; bytes_of: number }[]
  readonly models: Readonly<Record<string, number>>
  readonly requests: { readonly answered: number; readonly refused: number; readonly left: number }
  readonly federation: { readonly mode: string; readonly off_because: readonly string[] }
  readonly warnings: readonly string[]
}

export function statusCommand(): Command {
  const command = new Command().action(async (options: { json?: boolean }, self: Command) => {
    const client = new PoolClient(await settingsOf(self))
    const status = await client.json<Status>('GET', '/v1/admin/status')
    print(options.json === true, { url: client.url, ...status }, () => pageOf(client.url, status))
  })
  withSettings(command, ['client'])
  return withExamples(command, [
    ['lichen status', 'ready or not, workers, queue'],
    ['lichen status --url https://pool.example --json', 'a pool elsewhere; the key from LICHEN_ADMIN_KEY'],
  ])
}

function pageOf(url: string, status: Status): string {
  const { workers, queue, database, requests } = status
  const models = Object.entries(status.models).map(([name, count]) => `${name} (${count})`)
  const rows = [
    ['ready', status.ready ? 'yes' : `no: ${status.reason ?? ''}`],
    ['pool', status.pool],
    ['version', `${status.version}, up for ${uptime(status.uptime_seconds)}`],
    ['database', `${database.kind}, ${database.answers ? 'answers' : 'does not answer'}`],
    [
      'workers',
      `${workers.approved} approved, ${workers.pending} pending, ${workers.busy} of ${workers.slots} slots busy`,
    ],
    ['models', models.join(', ') || 'none'],
    ...status.fetching.map(({ worker, model, ...done }) => [
      'fetching',
      `${model} by ${worker.slice(0, 12)}, ${progress(done)}`,
    ]),
    ['queue', `${queue.jobs} jobs under way, ${queue.waiting} of ${queue.max} places taken`],
    ['requests', `${requests.answered} answered, ${requests.refused} refused, ${requests.left} left by the client`],
    ['federation', federationLine(status.federation)],
    ...status.warnings.map((warning) => ['warning', asTyped(warning)]),
  ]
  return table(['POOL', url], rows)
}

function federationLine({ mode, off_because: because }: Status['federation']): string {
  return because.length === 0 ? mode : `off: ${because.join(', ')}`
}

function uptime(seconds: number): string {
  const units = [
    [86_400, 'd'],
    [3_600, 'h'],
    [60, 'min'],
  ] as const
  const [size, name] = units.find(([size]) => seconds >= size) ?? [1, 's']
  return `${Math.floor(seconds / size)} ${name}`
}
