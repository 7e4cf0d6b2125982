import { Command } from 'commander'
import { exitCodes } from './exit-codes.ts'
import { settingsOf, withExamples, withSettings } from './options.ts'
import { clean, print, table } from './output.ts'
import { PoolClient } from './pool-client.ts'
import { CommandProblem } from './problem.ts'

interface Whom {
  readonly operator?: string
  readonly address?: string
}

interface BlockRow {
  readonly id: string
  readonly kind: string
  readonly subject: string
  readonly because: string | null
  readonly at: string
}

interface Rotation {
  readonly joined_before: string
  readonly data: readonly { readonly worker: string; readonly operator: string; readonly invite: string | null }[]
  readonly more: boolean
}

const path = '/v1/admin/blocks'

/** `lichen workers block|unblock|blocks|rotate`. */
export function blockCommands(): Command[] {
  return [blockCommand(), unblockCommand(), blocksCommand(), rotateCommand()]
}

const named = (command: Command) =>
  command
    .argument('[id]', 'the worker: its id, or the first six digits or more')
    .option('--operator <name>', 'everybody who lends for this operator')
    .option('--address <network>', 'everybody behind it: 192.0.2.7, 192.0.2.0/24, 2001:db8::/32')

/** What the request names, and how a sentence names it. */
function whomOf(id: string | undefined, { operator, address }: Whom): { body: object; name: string } {
  const given = Object.entries({ worker: id, operator, address }).filter(([, value]) => value !== undefined)
  const [one] = given
  if (one && given.length === 1) return { body: Object.fromEntries(given), name: `${one[0]} ${one[1]}` }
  const fix = 'Give the id of a worker, or --operator NAME, or --address NETWORK.'
  throw new CommandProblem('invalid_request', 'Name one: a worker, an operator or an address.', fix, exitCodes.usage)
}

function blockCommand(): Command {
  const command = named(new Command('block'))
    .description('let somebody lend no longer, whatever its key says, until an admin lifts it')
    .requiredOption('--because <text>', 'why; on record')
    .action(async (id: string | undefined, options: Whom & { because: string; json?: boolean }, self: Command) => {
      const { body, name } = whomOf(id, options)
      const client = new PoolClient(await settingsOf(self))
      const done = await client.json<object>('POST', path, { ...body, because: options.because })
      print(options.json === true, done, () => clean(`Blocked: ${name}. Its sessions end within a second.`))
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen workers block 3fa9c1 --because "answers from a cache"', 'one worker'],
    [
      'lichen workers block --operator bob --because "convicted elsewhere"',
      'all of an operator; their keys are revoked',
    ],
    ['lichen workers block --address 192.0.2.0/24 --because "stolen laptops"', 'a network'],
  ])
}

function unblockCommand(): Command {
  const command = named(new Command('unblock'))
    .description('lift a block; keys that were revoked stay so until renewed')
    .action(async (id: string | undefined, options: Whom & { json?: boolean }, self: Command) => {
      const { body, name } = whomOf(id, options)
      const done = await new PoolClient(await settingsOf(self)).json<object>('POST', `${path}/lift`, body)
      print(options.json === true, done, () => clean(`No longer blocked: ${name}.`))
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen workers unblock 3fa9c1', 'one worker: its key is again what it was'],
    ['lichen workers unblock --operator bob', 'then `lichen workers renew ID` for each of its workers'],
  ])
}

function blocksCommand(): Command {
  const command = new Command('blocks')
    .description('list who may not lend, and why')
    .action(async (options: { json?: boolean }, self: Command) => {
      const data = await new PoolClient(await settingsOf(self)).all<BlockRow>(path)
      print(options.json === true, { object: 'list', data }, () =>
        data.length === 0
          ? 'Nobody is blocked.'
          : table(
              ['WHO', 'SINCE', 'BECAUSE'],
              data.map(({ kind, subject, at, because }) => [`${kind} ${clean(subject)}`, at, clean(because ?? '')]),
            ),
      )
    })
  return withExamples(withSettings(command, ['client']), [['lichen workers blocks', 'workers, operators, addresses']])
}

function rotateCommand(): Command {
  const command = new Command('rotate')
    .description(
      'after an incident: revoke the key of every worker, and print an invite for each to come back with a new one',
    )
    .option('--operator <name>', 'only the workers of this one (default: all but the pool’s own)')
    .requiredOption('--because <text>', 'why; on record')
    .action(async (options: { operator?: string; because: string; json?: boolean }, self: Command) => {
      const client = new PoolClient(await settingsOf(self))
      const data: Rotation['data'][number][] = []
      let step: Rotation | undefined
      do {
        const { operator, because } = options
        const since = step === undefined ? {} : { joined_before: step.joined_before }
        step = await client.json<Rotation>('POST', '/v1/admin/workers/rotate', {
          ...(operator === undefined ? {} : { operator }),
          because,
          ...since,
        })
        data.push(...step.data)
      } while (step.more)
      print(options.json === true, { object: 'list', data }, () =>
        data.length === 0
          ? 'No worker’s key is good: nothing to rotate.'
          : `${table(
              ['WAS', 'OPERATOR', 'INVITE'],
              data.map(({ worker, operator, invite }) => [
                worker.slice(0, 12),
                clean(operator),
                invite ?? 'none: it is blocked',
              ]),
            )}\n\nOn each machine: lichen worker join INVITE --new-key. Then approve it: lichen workers approve ID`,
      )
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen workers rotate --because "a laptop was stolen"', 'all of them'],
    ['lichen workers rotate --operator bob --because "keys copied" --json', 'one operator, for a script'],
  ])
}
