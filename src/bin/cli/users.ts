import { Argument, Command, Option } from 'commander'
import { roles } from '#identity'
import { type KeyRow, keyTable } from './keys.ts'
import { settingsOf, withExamples, withSettings } from './options.ts'
import { clean, print, table } from './output.ts'
import { PoolClient } from './pool-client.ts'

/** A user as the pool lists it. */
interface UserRow {
  readonly id: string
  readonly name: string
  readonly role: string
  readonly account: string
  readonly payer_key: string | null
  readonly created_at: string
  readonly disabled_at: string | null
}

const path = '/v1/admin/users'
const routeOf = (user: string, rest = '') => `${path}/${encodeURIComponent(user)}${rest}`
const who = 'the user: name or id'

export function usersCommand(): Command {
  const group = new Command()
    .addCommand(createCommand())
    .addCommand(listCommand())
    .addCommand(showCommand())
    .addCommand(roleCommand())
    .addCommand(payerKeyCommand())
    .addCommand(switchCommand('disable', 'refuse all its keys within a second; nothing is removed'))
    .addCommand(switchCommand('enable', 'accept its keys again'))
  return withExamples(group, [
    ['lichen users create ada', 'somebody who may compute'],
    ['lichen keys create laptop --user ada', 'a key for her'],
  ])
}

function createCommand(): Command {
  const command = new Command('create')
    .description('make a user, whom API keys can belong to')
    .argument('<name>', 'how the user is called; no other has this name')
    .addOption(new Option('--role <role>', 'what its keys may have at most (default: user)').choices(roles))
    .option('--payer-key <key>', 'public key it signs orders with (default: the pool signs for it)')
    .action(async (name: string, options: { role?: string; payerKey?: string; json?: boolean }, self: Command) => {
      const { role, payerKey } = options
      const body = { name, ...(role ? { role } : {}), ...(payerKey ? { payer_key: payerKey } : {}) }
      const user = await new PoolClient(await settingsOf(self)).json<UserRow>('POST', path, body)
      print(options.json === true, user, () => `${clean(user.name)} is a user with the role ${user.role}: ${user.id}.`)
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen users create ada', 'may compute with its keys'],
    ['lichen users create bob --role operator', 'may also invite and approve workers'],
  ])
}

function listCommand(): Command {
  const command = new Command('ls')
    .description('list users')
    .action(async (options: { json?: boolean }, self: Command) => {
      const data = await new PoolClient(await settingsOf(self)).all<UserRow>(path)
      print(options.json === true, { object: 'list', data }, () =>
        table(
          ['ID', 'NAME', 'ROLE', 'STATE', 'CREATED', 'SIGNS ITS ORDERS'],
          data.map((user) => [user.id, user.name, user.role, stateOf(user), user.created_at, payer(user)]),
        ),
      )
    })
  return withExamples(withSettings(command, ['client']), [['lichen users ls --json', 'for a script']])
}

const stateOf = (user: UserRow) => (user.disabled_at === null ? 'good' : `disabled ${user.disabled_at}`)
const payer = (user: UserRow) => (user.payer_key === null ? 'no' : 'yes')

function showCommand(): Command {
  const command = new Command('show')
    .description('one user and its keys')
    .argument('<user>', who)
    .action(async (name: string, options: { json?: boolean }, self: Command) => {
      const client = new PoolClient(await settingsOf(self))
      const user = await client.json<UserRow>('GET', routeOf(name))
      const keys = await client.all<KeyRow>(`/v1/admin/keys?user=${user.id}`)
      print(options.json === true, { ...user, keys }, () => `${factsOf(user)}\n\n${keyTable(keys)}`)
    })
  return withExamples(withSettings(command, ['client']), [['lichen users show ada', 'what Ada has']])
}

function factsOf(user: UserRow): string {
  return table(
    ['USER', clean(user.name)],
    [
      ['id', user.id],
      ['role', user.role],
      ['state', stateOf(user)],
      ['created', user.created_at],
      ['account', user.account],
      ['payer key', user.payer_key ?? '-'],
    ],
  )
}

function roleCommand(): Command {
  const command = new Command('role')
    .description('give a user another role; keys with more count as the new one')
    .argument('<user>', who)
    .addArgument(new Argument('<role>', 'what it may do').choices(roles))
    .action((name: string, role: string, options: { json?: boolean }, self: Command) =>
      perform(routeOf(name, '/role'), { role }, options, self),
    )
  return withExamples(withSettings(command, ['client']), [
    ['lichen users role ada admin', 'Ada handles keys, users and prices'],
  ])
}

function payerKeyCommand(): Command {
  const command = new Command('payer-key')
    .description('set the key a user signs its orders with, or take it away')
    .argument('<user>', who)
    .argument('<public-key>', 'the public half, 43 characters of base64url; `none` takes it away')
    .action((name: string, key: string, options: { json?: boolean }, self: Command) =>
      perform(routeOf(name, '/payer-key'), { payer_key: key === 'none' ? null : key }, options, self),
    )
  return withExamples(withSettings(command, ['client']), [
    ['lichen users payer-key ada Vfg9o…', 'receipts then prove that Ada herself ordered'],
    ['lichen users payer-key ada none', 'the pool signs for her again'],
  ])
}

function switchCommand(act: 'disable' | 'enable', does: string): Command {
  const command = new Command(act)
    .description(does)
    .argument('<user>', who)
    .action((name: string, options: { json?: boolean }, self: Command) =>
      perform(routeOf(name, `/${act}`), {}, options, self),
    )
  return withExamples(withSettings(command, ['client']), [[`lichen users ${act} ada`, does.split(/[;,]/)[0] ?? does]])
}

async function perform(route: string, body: object, options: { json?: boolean }, self: Command): Promise<void> {
  const user = await new PoolClient(await settingsOf(self)).json<UserRow>('POST', route, body)
  print(options.json === true, user, () => `${clean(user.name)}: ${user.role}, ${stateOf(user)}.`)
}
