import path from 'node:path'
import { Command } from 'commander'
import { asTyped } from '../as-typed.ts'
import type { KeyRow } from './keys.ts'
import { settingsOf, withExamples, withSettings } from './options.ts'
import { print } from './output.ts'
import { payerKeyFile } from './payer-key-file.ts'
import { PoolClient } from './pool-client.ts'
import { CommandProblem } from './problem.ts'

type Options = { json?: boolean }

const kinds = `
What there is, and what rotating it does:
  pool       who the pool is: the old key names the new one, other pools' and workers' people confirm it
  storage    seals what lies in the database for a day or two: all of it is sealed anew (the pool must not run)
  session    encrypts sessions with workers: replaced, nobody notices (the pool must not run)
  owner      owner.key, the owner's bearer: replaced (the pool must not run)
  api-key    one key of a user: a new one that may the same, the old one is refused
  admin-key  signs grants and WRITEs: a new one on this machine is registered, the old one is revoked for good
  payer-key  signs a user's orders on this machine: a new one counts from now on
  worker     this machine's worker key: put aside, and it joins again as a newcomer with a new invite
Of all workers of a pool: \`lichen workers rotate\`. Tokens (JWT) and statements are signed with the pool's key. TLS: put the
new certificate into the files of \`tls_cert\` and \`tls_key\`, then start the pool again.`

/** `lichen rotate KIND`: each kind of key there is. */
export function rotateCommand(): Command {
  const group = new Command()
    .addCommand(poolCommand())
    .addCommand(storageCommand())
    .addCommand(localCommand('session', 'session.key', 'what sessions with workers are encrypted with'))
    .addCommand(localCommand('owner', 'owner.key', "the owner's bearer"))
    .addCommand(apiKeyCommand())
    .addCommand(adminKeyCommand())
    .addCommand(payerKeyCommand())
    .addCommand(workerCommand())
  group.addHelpText('after', kinds)
  return withExamples(group, [
    ['lichen rotate pool --signed-by ada', 'another key for the pool, which an admin signs as well'],
    ['lichen rotate api-key 01936f…', 'somebody may have seen it'],
  ])
}

function poolCommand(): Command {
  const command = new Command('pool')
    .description('give the pool another key and so another id; the old key names it, and is not kept')
    .option('--signed-by <name>', 'an admin key, its name or file, that signs as well: a thief of the old key has none')
    .action(async ({ signedBy, json }: Options & { signedBy?: string }, self: Command) => {
      const settings = await settingsOf(self)
      const { rotatePoolKey } = await import('../rotate-pool-key.ts')
      const done = await rotatePoolKey(settings, { signedBy })
      const next = [
        'Start the pool: lichen up. Then make a backup with keys: older ones are of the old key.',
        `Tell the new id to those who know the old one, in person. Other pools: lichen fed confirm ${done.old_id.slice(0, 12)} ${done.pool_id}`,
        `Workers: lichen worker join --successor ${done.pool_id}`,
      ]
      print(
        json === true,
        done,
        () => `${done.pool_id}\n\nfollows ${done.old_id}, which is gone.\n${next.map(asTyped).join('\n')}`,
      )
    })
  command.addHelpText(
    'after',
    '\nThe pool must not run, and what it was doing must be settled. Cut off at any moment, it is done or not begun: the next\nstart of the pool, or of this command, brings it to its end. Receipts of before stay what they are and verify under the old id.',
  )
  return withExamples(withSettings(command, ['pool']), [
    ['lichen rotate pool', 'once in a while'],
    ['lichen rotate pool --signed-by ada', 'peers that know the key of Ada will insist on it'],
  ])
}

function storageCommand(): Command {
  const command = new Command('storage')
    .description('seal epoch keys and kept answers in the database under another key; the pool must not run')
    .action(async ({ json }: Options, self: Command) => {
      const settings = await settingsOf(self)
      const { rotateStorageKey } = await import('../rotate-storage-key.ts')
      await rotateStorageKey(settings)
      const file = path.join(settings.data, 'sealing.key')
      print(
        json === true,
        { ok: true, file },
        () => 'sealing.key is another one now. Make a backup with keys: older ones are of the old key.',
      )
    })
  return withExamples(withSettings(command, ['pool']), [['lichen rotate storage', 'while the pool is stopped']])
}

function localCommand(name: string, file: string, what: string): Command {
  const command = new Command(name)
    .description(`make ${what} anew; the pool must not run`)
    .action(async ({ json }: Options, self: Command) => {
      const settings = await settingsOf(self)
      const { replaceKeyFile } = await import('../replace-key-file.ts')
      await replaceKeyFile(settings.data, file)
      print(json === true, { ok: true, file: path.join(settings.data, file) }, () => `${file} is another one now.`)
    })
  return withExamples(withSettings(command, ['pool']), [[`lichen rotate ${name}`, 'while the pool is stopped']])
}

/** What the API gives of a key and takes for a new one under the same name. */
const same = [
  'name',
  'user',
  'role',
  'models',
  'requests_per_minute',
  'tokens_per_minute',
  'budget_total',
  'budget_per_day',
  'weight',
  'payer_signature',
  'assurance',
  'privacy',
  'forwarding',
  'required_workers',
] as const

function apiKeyCommand(): Command {
  const command = new Command('api-key')
    .description('make a key that may what this one may, and refuse this one; what it may spend begins anew')
    .argument('<id>', 'the key’s id, from `lichen keys ls`')
    .option('--keep-old', 'do not refuse the old one yet')
    .action(async (id: string, { keepOld, json }: Options & { keepOld?: boolean }, self: Command) => {
      const client = new PoolClient(await settingsOf(self))
      const old = (await client.all<KeyRow & Record<string, unknown>>('/v1/admin/keys')).find((key) => key.id === id)
      if (!old || old.revoked_at !== null)
        throw new CommandProblem('not_found', `There is no good API key ${id}.`, 'See `lichen keys ls`.')
      const left = old.expires_at === null ? undefined : Date.parse(old.expires_at) - Date.parse(await nowOf())
      const may = Object.fromEntries(same.map((member) => [member, old[member]]))
      const body = { ...may, ...(left === undefined ? {} : { expires_in_ms: Math.max(1_000, left) }) }
      const made = await client.json<KeyRow & { key: string }>('POST', '/v1/admin/keys', body)
      if (keepOld !== true) await client.json('DELETE', `/v1/admin/keys/${encodeURIComponent(id)}`)
      const fate = keepOld === true ? `The old one is still good: lichen keys revoke ${id}` : 'The old one is refused.'
      print(json === true, made, () => `${made.key}\n\nIts id is ${made.id}. ${fate}`)
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen rotate api-key 01936f…', 'a new one, at once'],
    ['lichen rotate api-key 01936f… --keep-old', 'while programs still use the old one'],
  ])
}

async function nowOf(): Promise<string> {
  const { systemRuntime } = await import('#runtime')
  return new Date(systemRuntime.now()).toISOString()
}

function adminKeyCommand(): Command {
  const command = new Command('admin-key')
    .description('make another admin key on this machine, register it, then revoke the old one for good')
    .argument('<old>', 'the key: its name, its id, or the first six digits or more')
    .argument('<name>', 'the new one’s name')
    .action(async (old: string, name: string, { json }: Options, self: Command) => {
      const settings = await settingsOf(self)
      const client = new PoolClient(settings)
      const [{ systemRuntime }, { adminKeyFile, makeAdminKey }] = await Promise.all([
        import('#runtime'),
        import('../admin-key-file.ts'),
      ])
      const rows = await client.all<{ id: string; name: string; revoked_at: string | null }>('/v1/admin/admin-keys')
      const isMeant = (row: { id: string; name: string }) =>
        row.name === old || (old.length >= 6 && row.id.startsWith(old))
      const [known, ...more] = rows.filter((row) => isMeant(row) && row.revoked_at === null)
      if (!known || more.length > 0)
        throw new CommandProblem(
          'not_found',
          `There is no good admin key ${old}, or several.`,
          'See `lichen admin-key ls`.',
        )
      const file = adminKeyFile(name)
      const { id, publicKey } = await makeAdminKey(file, settings.data, systemRuntime)
      const public_key = publicKey.toString('base64url')
      await client.json('POST', '/v1/admin/admin-keys', { name, public_key })
      await client.json('DELETE', `/v1/admin/admin-keys/${known.id}`)
      print(
        json === true,
        { id, name, public_key, file, revoked: known.id },
        () =>
          `${public_key}\n\nThe private half is in ${file}. ${known.id.slice(0, 12)} counts no more; pools that registered it are told by you.`,
      )
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen rotate admin-key 3fa9c1 ada-2027', 'Ada has a new laptop'],
  ])
}

function payerKeyCommand(): Command {
  const command = new Command('payer-key')
    .description('make another key for a user’s orders on this machine; the old one is put aside')
    .argument('<user>', 'whose: its name or id')
    .option('--file <path>', 'where the private half lies (default: $XDG_CONFIG_HOME/lichen/payer-keys/default.key)')
    .action(async (user: string, { file = payerKeyFile(), json }: Options & { file?: string }, self: Command) => {
      const client = new PoolClient(await settingsOf(self))
      const { replacePayerKey } = await import('../replace-key-file.ts')
      const key = await replacePayerKey(file, (publicKey) =>
        client.json('POST', `/v1/admin/users/${encodeURIComponent(user)}/payer-key`, { payer_key: publicKey }),
      )
      print(
        json === true,
        { user, payer_key: key, file },
        () => `${key}\n\nOrders signed with ${file} count from now on.`,
      )
    })
  return withExamples(withSettings(command, ['client']), [['lichen rotate payer-key ada', 'and start the proxy again']])
}

function workerCommand(): Command {
  const command = new Command('worker')
    .description('put this machine’s worker key aside; it joins again with a new invite, as a newcomer')
    .action(async ({ json }: Options, self: Command) => {
      const settings = await settingsOf(self)
      const [{ loadMembership, retireWorkerKeys }, { systemRuntime }, { PoolError }] = await Promise.all([
        import('#agent'),
        import('#runtime'),
        import('#protocol'),
      ])
      const folder = path.join(settings.data, 'worker')
      // a damaged file is put aside like any other
      const worker = (await loadMembership(folder).catch(() => undefined))?.worker ?? null
      if (!(await retireWorkerKeys(folder, systemRuntime)))
        throw new PoolError('not_found', `There is no worker's key in ${folder}.`, 'Name its folder with --data.')
      print(json === true, { ok: true, worker }, () =>
        asTyped(
          `Put aside. Stop the worker if it runs: it has its old key in memory. Have that revoked at the pool, and ask for a new invite:\n\n  lichen workers revoke ${worker ?? 'ID'}\n  lichen worker join INVITE`,
        ),
      )
    })
  return withExamples(withSettings(command, ['worker']), [['lichen rotate worker', 'after the worker was stopped']])
}
