import { Command } from 'commander'
import { durationMs, positive, settingsOf, share, withExamples, withSettings } from './options.ts'
import { clean, print, table } from './output.ts'
import { PoolClient } from './pool-client.ts'

/** An API key as the pool lists it; the key itself is shown once, when it is made. */
interface KeyRow {
  readonly id: string
  readonly name: string
  readonly created_at: string
  readonly expires_at: string | null
  readonly revoked_at: string | null
  readonly models: readonly string[] | null
  readonly requests_per_minute: number | null
}

const path = '/v1/admin/keys'

export function keysCommand(): Command {
  const group = new Command().addCommand(createCommand()).addCommand(listCommand()).addCommand(revokeCommand())
  return withExamples(group, [
    ['lichen keys create laptop', 'a key for your laptop'],
    ['lichen keys ls', 'which keys there are'],
  ])
}

interface CreateOptions {
  readonly expires?: number
  readonly models?: readonly string[]
  readonly requestsPerMinute?: number
  readonly weight?: number
  readonly json?: boolean
}

function createCommand(): Command {
  const command = new Command('create')
    .description('make an API key; it is shown once')
    .argument('<name>', 'what the key is for')
    .option('--expires <time>', 'how long it is good for (default: for ever)', durationMs)
    .option('--models <name...>', 'the only models it may ask for (default: all)')
    .option('--requests-per-minute <n>', 'most requests in a minute (default: no limit of its own)', positive)
    .option('--weight <n>', 'its share when requests wait, 0.001 to 1000 (default: 1)', share)
    .action(async (name: string, options: CreateOptions, self: Command) => {
      const made = await new PoolClient(await settingsOf(self)).json<KeyRow & { key: string }>('POST', path, {
        name,
        ...(options.expires === undefined ? {} : { expires_in_ms: options.expires }),
        ...(options.models === undefined ? {} : { models: options.models }),
        ...(options.requestsPerMinute === undefined ? {} : { requests_per_minute: options.requestsPerMinute }),
        ...(options.weight === undefined ? {} : { weight: options.weight }),
      })
      print(
        options.json === true,
        made,
        () => `${made.key}\n\nKept as a hash: it cannot be shown again. Its id is ${made.id}.`,
      )
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen keys create laptop', 'no limits'],
    ['lichen keys create guest --expires 7d --requests-per-minute 20', 'a guest for a week'],
  ])
}

function listCommand(): Command {
  const command = new Command('ls')
    .description('list API keys')
    .action(async (options: { json?: boolean }, self: Command) => {
      const data = await new PoolClient(await settingsOf(self)).all<KeyRow>(path)
      print(options.json === true, { object: 'list', data }, () =>
        table(['ID', 'NAME', 'STATE', 'CREATED', 'PER MINUTE', 'MODELS'], data.map(keyLine)),
      )
    })
  return withExamples(withSettings(command, ['client']), [['lichen keys ls --json', 'for a script']])
}

function keyLine(key: KeyRow): string[] {
  const state = key.revoked_at ? 'revoked' : key.expires_at ? `until ${key.expires_at}` : 'good'
  const perMinute = key.requests_per_minute === null ? '' : String(key.requests_per_minute)
  return [key.id, clean(key.name), state, key.created_at, perMinute, key.models?.map(clean).join(', ') ?? 'all']
}

function revokeCommand(): Command {
  const command = new Command('revoke')
    .description('refuse a key within a second')
    .argument('<id>', 'the key’s id, from `lichen keys ls`')
    .action(async (id: string, options: { json?: boolean }, self: Command) => {
      const client = new PoolClient(await settingsOf(self))
      const key = await client.json<KeyRow>('DELETE', `${path}/${encodeURIComponent(id)}`)
      print(options.json === true, key, () => `Revoked: ${id}.`)
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen keys revoke 01936f…', 'that key is refused from now on'],
  ])
}
