import { Command, InvalidArgumentError } from 'commander'
import { durationMs, settingsOf, withExamples, withSettings } from './options.ts'
import { print, table } from './output.ts'
import { PoolClient } from './pool-client.ts'

const path = '/v1/admin/federation/tokens'

/** `lichen fed tokens issue|revoke|allow|disallow|ls`. */
export function tokensCommand(): Command {
  const group = new Command('tokens')
    .description('tokens (JWT) with which users of one bonded pool are served by another')
    .addCommand(issueCommand())
    .addCommand(revokeCommand())
    .addCommand(allowCommand())
    .addCommand(disallowCommand())
    .addCommand(listCommand())
  return withExamples(group, [
    ['lichen fed tokens issue KEY_ID 77b0e2', 'for Bela’s pool, an hour long'],
    ['lichen fed tokens allow 3fa9c1 KEY_ID', 'at Bela’s: Anna’s users count as this API key'],
  ])
}

interface TokenPeerRow {
  readonly peer: string
  readonly api_key: string
  readonly allowed_at: string
  readonly allowed_by: string
}

function issueCommand(): Command {
  const command = new Command('issue')
    .description('sign a token about the holder of an API key, for one pool')
    .argument('<key-id>', 'the API key: its id, as `lichen keys ls` shows it')
    .argument('<pool>', 'who may take it: id of the pool, or its first six digits')
    .option('--expires <time>', 'how long it is good, 24h at most', lifeMs, 3_600_000)
    .action(
      async (key: string, audience: string, { expires, json }: { expires: number; json?: boolean }, self: Command) => {
        const client = new PoolClient(await settingsOf(self))
        const issued = await client.json<{ token: string }>('POST', path, { api_key: key, audience, lives_ms: expires })
        print(json === true, issued, () => issued.token)
      },
    )
  return withExamples(withSettings(command, ['client']), [
    ['lichen fed tokens issue KEY_ID 77b0e2 --expires 8h', 'the token is the bearer at that pool'],
  ])
}

/** Ends after a day at most, at whatever pool it is shown. */
function lifeMs(text: string): number {
  const ms = durationMs(text)
  if (ms > 86_400_000) throw new InvalidArgumentError('A token is good for 24h at most.')
  return ms
}

function revokeCommand(): Command {
  const command = new Command('revoke')
    .description(
      'take one token back before its end: refused here at once, and at bonded pools when they next compare facts',
    )
    .argument('<token>', 'the token, or its whole id (`jti`)')
    .option('--issuer <pool>', 'who issued it, where an id is given: this pool unless said otherwise')
    .action(async (token: string, { issuer, json }: { issuer?: string; json?: boolean }, self: Command) => {
      const client = new PoolClient(await settingsOf(self))
      const body = { token, ...(issuer === undefined ? {} : { issuer }) }
      const done = await client.json<{ id: string }>('POST', `${path}/revoke`, body)
      print(json === true, done, () => `Token ${done.id} counts no more.`)
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen fed tokens revoke TOKEN', 'somebody may have seen it'],
    ['lichen fed tokens revoke JTI --issuer 3fa9c1', 'of a neighbour’s users, refused here only'],
  ])
}

function allowCommand(): Command {
  const command = new Command('allow')
    .description('let tokens of a bonded pool count here, as one API key: its models, limits and account')
    .argument('<pool>', 'who issues: id of the pool, or its first six digits')
    .argument('<key-id>', 'the API key here')
    .action((pool: string, key: string, { json }: { json?: boolean }, self: Command) =>
      set(self, pool, key, json === true),
    )
  return withExamples(withSettings(command, ['client']), [
    ['lichen fed tokens allow 3fa9c1 KEY_ID', 'give that key a budget first: `lichen keys set`'],
  ])
}

function disallowCommand(): Command {
  const command = new Command('disallow')
    .description('take no tokens of a pool any more')
    .argument('<pool>', 'id of the pool, or its first six digits')
    .action((pool: string, { json }: { json?: boolean }, self: Command) => set(self, pool, null, json === true))
  return withExamples(withSettings(command, ['client']), [
    ['lichen fed tokens disallow 3fa9c1', 'from the next request on'],
  ])
}

async function set(self: Command, peer: string, key: string | null, json: boolean): Promise<void> {
  const client = new PoolClient(await settingsOf(self))
  const list = await client.json<{ data: TokenPeerRow[] }>('POST', `${path}/peers`, { peer, api_key: key })
  print(json, list, () =>
    key === null ? 'Its tokens count no more.' : 'Its tokens count as that key, while the pool is bonded here.',
  )
}

function listCommand(): Command {
  const command = new Command('ls')
    .description('list pools whose tokens count here')
    .action(async ({ json }: { json?: boolean }, self: Command) => {
      const list = await new PoolClient(await settingsOf(self)).json<{ data: TokenPeerRow[] }>('GET', `${path}/peers`)
      const rows = list.data.map(({ peer, api_key, allowed_at, allowed_by }) => [peer, api_key, allowed_at, allowed_by])
      print(json === true, list, () =>
        rows.length === 0 ? 'No pool’s tokens count here.' : table(['POOL', 'COUNTS AS', 'SINCE', 'BY'], rows),
      )
    })
  return withExamples(withSettings(command, ['client']), [['lichen fed tokens ls --json', 'for a script']])
}
