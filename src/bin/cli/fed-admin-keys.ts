import { Command } from 'commander'
import { settingsOf, withExamples, withSettings } from './options.ts'
import { clean, print, table } from './output.ts'
import { PoolClient } from './pool-client.ts'

/** Key of an admin of another pool, as this pool lists it. */
interface KeyRow {
  readonly id: string
  readonly name: string
  readonly public_key: string
  readonly added_at: string
  readonly revoked_at: string | null
}

const pathOf = (pool: string) => `/v1/admin/federation/peers/${encodeURIComponent(pool)}/admin-keys`

/** `lichen fed admin-keys ls|add|revoke`. */
export function adminKeysCommand(): Command {
  const group = new Command('admin-keys')
    .description('whose signatures count for another pool’s WRITEs here')
    .addCommand(listCommand())
    .addCommand(addCommand())
    .addCommand(revokeCommand())
  return withExamples(group, [
    ['lichen fed admin-keys ls 3fa9c1', 'who may sign for that pool'],
    ['lichen fed admin-keys add 3fa9c1 bob PUBLIC_KEY', 'as Bob told you in person'],
  ])
}

function listCommand(): Command {
  const command = new Command('ls')
    .description('list the admin keys of another pool that are registered here')
    .argument('<pool>', 'its id, or the first six digits')
    .action(async (pool: string, { json }: { json?: boolean }, self: Command) => {
      const list = await new PoolClient(await settingsOf(self)).json<{ data: KeyRow[] }>('GET', pathOf(pool))
      const rows = list.data.map(({ id, name, public_key, added_at, revoked_at }) => [
        id,
        name,
        public_key,
        added_at,
        revoked_at ?? 'no',
      ])
      print(json === true, list, () =>
        rows.length === 0
          ? 'No admin of that pool is registered here.'
          : table(['ID', 'NAME', 'PUBLIC KEY', 'SINCE', 'REVOKED'], rows),
      )
    })
  return withExamples(withSettings(command, ['client']), [['lichen fed admin-keys ls 3fa9c1 --json', 'for a script']])
}

function addCommand(): Command {
  const command = new Command('add')
    .description('register the key of an admin of another pool')
    .argument('<pool>', 'its id, or the first six digits')
    .argument('<name>', 'whose key it is')
    .argument('<public-key>', 'as `lichen admin-key new` printed it on their machine; ask them in person')
    .action(async (pool: string, name: string, key: string, { json }: { json?: boolean }, self: Command) => {
      const row = await new PoolClient(await settingsOf(self)).json<KeyRow>('POST', pathOf(pool), {
        name,
        public_key: key,
      })
      print(json === true, row, () =>
        clean(`Bonds with that pool, and its WRITEs, count with a signature by ${row.name} (${row.id.slice(0, 12)}).`),
      )
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen fed admin-keys add 3fa9c1 bob 1nJxVc3fVw…', 'never from a message of that pool itself'],
  ])
}

function revokeCommand(): Command {
  const command = new Command('revoke')
    .description('take an admin key of another pool off the list for good')
    .argument('<pool>', 'its id, or the first six digits')
    .argument('<id>', 'the key: its whole id')
    .action(async (pool: string, id: string, { json }: { json?: boolean }, self: Command) => {
      const row = await new PoolClient(await settingsOf(self)).json<KeyRow>(
        'DELETE',
        `${pathOf(pool)}/${encodeURIComponent(id)}`,
      )
      print(json === true, row, () => clean(`${row.name} signs for that pool no more.`))
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen fed admin-keys revoke 3fa9c1 KEY_ID', 'when Bob has left'],
  ])
}
