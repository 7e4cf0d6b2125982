import { Command } from 'commander'
import { adminKeyFile, makeAdminKey } from '../admin-key-file.ts'
import { asTyped } from '../as-typed.ts'
import { settingsOf, withExamples, withSettings } from './options.ts'
import { clean, print, table } from './output.ts'
import { PoolClient } from './pool-client.ts'
import { CommandProblem, explain } from './problem.ts'

/** An admin key as the pool lists it. */
interface AdminKeyRow {
  readonly id: string
  readonly name: string
  readonly public_key: string
  readonly created_at: string
  readonly revoked_at: string | null
  readonly added_by: string
}

const path = '/v1/admin/admin-keys'

export function adminKeyCommand(): Command {
  const group = new Command()
    .addCommand(newCommand())
    .addCommand(addCommand())
    .addCommand(listCommand())
    .addCommand(revokeCommand())
  return withExamples(group, [
    ['lichen admin-key new ada', 'a key on this machine, known to the pool'],
    ['lichen admin-key ls', 'whose grants count'],
  ])
}

interface NewOptions {
  readonly file?: string
  readonly register: boolean
  readonly json?: boolean
}

function newCommand(): Command {
  const command = new Command('new')
    .description('make a key on this machine and tell the pool its public half; grants are signed with it')
    .argument('<name>', 'whose key it is')
    .option('--file <path>', 'where the private half lies (default: $XDG_CONFIG_HOME/lichen/admin-keys/NAME.key)')
    .option('--no-register', 'tell no pool; an owner adds the public half with `lichen admin-key add`')
    .action(async (name: string, options: NewOptions, self: Command) => {
      const settings = await settingsOf(self)
      const client = options.register ? new PoolClient(settings) : undefined
      const file = options.file ?? adminKeyFile(name)
      const { systemRuntime } = await import('#runtime')
      const { id, publicKey } = await makeAdminKey(file, settings.data, systemRuntime)
      const made = { id, name, public_key: publicKey.toString('base64url'), file, registered: client !== undefined }
      await client?.json('POST', path, { name, public_key: made.public_key }).catch((error) => {
        throw notRegistered(error, name, made)
      })
      print(options.json === true, made, () => newText(made))
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen admin-key new ada', 'make it and register it'],
    ['lichen admin-key new ada --no-register', 'on another machine; send the public half to an owner'],
  ])
}

interface NewKey {
  readonly name: string
  readonly file: string
  readonly public_key: string
  readonly registered: boolean
}

function newText({ name, file, public_key, registered }: NewKey): string {
  const next = registered
    ? 'The pool knows it.'
    : asTyped(`An owner adds it: lichen admin-key add ${name} ${public_key}`)
  return `${public_key}\n\nThe private half is in ${file} and nowhere else: keep a copy offline. ${next}`
}

/** The key stays: nobody knows whether the pool has it, and it can be added later. */
function notRegistered(error: unknown, name: string, made: NewKey): CommandProblem {
  const { code, message, fix, exitCode } = explain(error)
  const later = `The key is in ${made.file}. Then: \`lichen admin-key add ${name} ${made.public_key}\`.`
  return new CommandProblem(code, message, `${fix} ${later}`.trim(), exitCode)
}

function addCommand(): Command {
  const command = new Command('add')
    .description('accept grants signed with a key that was made elsewhere')
    .argument('<name>', 'whose key it is')
    .argument('<public-key>', 'its public half, as `lichen admin-key new` printed it')
    .action(async (name: string, publicKey: string, options: { json?: boolean }, self: Command) => {
      const client = new PoolClient(await settingsOf(self))
      const key = await client.json<AdminKeyRow>('POST', path, { name, public_key: publicKey })
      print(options.json === true, key, () => `Added: ${key.id}. Its grants count from now on.`)
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen admin-key add bob Vfg9o…', 'the key that Bob made on his machine'],
  ])
}

function listCommand(): Command {
  const command = new Command('ls')
    .description('list admin keys')
    .action(async (options: { json?: boolean }, self: Command) => {
      const data = await new PoolClient(await settingsOf(self)).all<AdminKeyRow>(path)
      print(options.json === true, { object: 'list', data }, () =>
        data.length === 0
          ? asTyped('There is no admin key. Make one: lichen admin-key new NAME')
          : table(['ID', 'NAME', 'STATE', 'ADDED', 'BY', 'PUBLIC KEY'], data.map(keyLine)),
      )
    })
  return withExamples(withSettings(command, ['client']), [['lichen admin-key ls --json', 'for a script']])
}

const keyLine = (key: AdminKeyRow): string[] => [
  key.id.slice(0, 12),
  clean(key.name),
  key.revoked_at === null ? 'good' : `revoked ${key.revoked_at}`,
  key.created_at,
  key.added_by,
  key.public_key,
]

function revokeCommand(): Command {
  const command = new Command('revoke')
    .description('refuse its grants from now on, for good')
    .argument('<id>', 'the key: its id, or the first six digits or more')
    .action(async (id: string, options: { json?: boolean }, self: Command) => {
      const client = new PoolClient(await settingsOf(self))
      const key = await client.json<AdminKeyRow>('DELETE', `${path}/${encodeURIComponent(id)}`)
      print(options.json === true, key, () => `Revoked: ${key.id} of ${clean(key.name)}.`)
    })
  return withExamples(withSettings(command, ['client']), [['lichen admin-key revoke 3fa9c1', 'Bob lost his laptop']])
}
