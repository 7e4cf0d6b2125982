import { Command } from 'commander'
import { settingsOf, withExamples, withSettings } from './options.ts'
import { clean, print, table } from './output.ts'
import { PoolClient } from './pool-client.ts'

/** An operator as the pool lists it. */
interface OperatorRow {
  readonly id: string
  readonly name: string
  readonly created_at: string
  readonly blocked_at: string | null
  readonly workers: number
}

const path = '/v1/admin/operators'

export function operatorsCommand(): Command {
  const group = new Command().addCommand(listCommand()).addCommand(unblockCommand())
  return withExamples(group, [['lichen operators ls', 'who lends workers, and whom the pool has blocked']])
}

function listCommand(): Command {
  const command = new Command('ls')
    .description('list those who lend workers')
    .action(async (options: { json?: boolean }, self: Command) => {
      const data = await new PoolClient(await settingsOf(self)).all<OperatorRow>(path)
      print(options.json === true, { object: 'list', data }, () =>
        table(
          ['ID', 'NAME', 'WORKERS', 'SINCE', 'BLOCKED'],
          data.map(({ id, name, workers, created_at: since, blocked_at: blocked }) => [
            id,
            name,
            String(workers),
            since,
            blocked ?? 'no',
          ]),
        ),
      )
    })
  return withExamples(withSettings(command, ['client']), [['lichen operators ls --json', 'for a script']])
}

function unblockCommand(): Command {
  const command = new Command('unblock')
    .description('let an operator lend again that was blocked because a worker of it was convicted')
    .argument('<id>', 'the operator: its id')
    .action(async (id: string, options: { json?: boolean }, self: Command) => {
      const client = new PoolClient(await settingsOf(self))
      const operator = await client.json<{ id: string }>('POST', `${path}/${encodeURIComponent(id)}/unblock`)
      print(options.json === true, operator, () =>
        clean(
          `${operator.id} may lend again. Keys of its workers stay revoked until each is renewed: lichen workers renew ID`,
        ),
      )
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen operators unblock 01a1f916-388d-7af0-b042-acba75c3064b', 'after an appeal that was right'],
  ])
}
