import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { identityFromSeed } from '#crypto'
import { Identity, poolItself, type Role } from '#identity'
import { systemRuntime } from '#runtime'
import { Workers } from '#workers'
import { ApiDouble, adminOver } from '../../testkit/api-double.ts'
import { runCommand } from '../../testkit/run-command.ts'
import { type TestDatabase, testDatabase } from '../../testkit/test-database.ts'
import { loadAdminKey } from '../admin-key-file.ts'

const folder = mkdtempSync(path.join(os.tmpdir(), 'lichen-people-'))
const data = path.join(folder, 'data')
let db: TestDatabase
let identity: Identity
let workers: Workers
let api: ApiDouble
beforeAll(async () => {
  db = await testDatabase()
  identity = new Identity(db.database, systemRuntime)
  workers = new Workers({ runtime: systemRuntime })
  api = await ApiDouble.open({
    authenticate: (key) => identity.authenticate(key),
    admin: adminOver(db.database, identity, { workers, inviteUrl: () => 'https://pool.example' }),
  })
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  workers.close()
  identity[Symbol.dispose]()
  await db.drop()
  rmSync(folder, { recursive: true })
})

/** Runs a command against the pool, with the owner's key unless another is given. */
const lichen = (line: string, more: Record<string, string> = {}) =>
  runCommand(folder, [...line.split(' '), '--data', data], {
    env: { LICHEN_URL: api.url, LICHEN_ADMIN_KEY: 'owner', ...more },
  })

// biome-ignore lint/suspicious/noExplicitAny: the API's schemas are checked where the API is
async function json(line: string, more?: Record<string, string>): Promise<any> {
  const { code, out, err } = await lichen(`${line} --json`, more)
  expect(err).toBe('')
  expect(code).toBe(0)
  return JSON.parse(out)
}

async function keyWithRole(role: Role): Promise<string> {
  await identity.createUser({ name: `with ${role}`, role }, poolItself)
  return (await identity.createApiKey({ name: role, user: `with ${role}`, role }, poolItself)).key
}

describe('users and their keys', () => {
  test('a key is listed as good until its time is over, and as expired from then on', async () => {
    await json('users create una')
    await json('keys create later --user una --expires 1h')
    const gone = await json('keys create sooner --user una --expires 1s')
    await new Promise((resolve) => setTimeout(resolve, Date.parse(gone.expires_at) - systemRuntime.now() + 1))
    const { out } = await lichen('keys ls --user una')
    expect(out).toMatch(/ later .* until 20/)
    expect(out).toContain(` expired ${gone.expires_at} `)
  })

  test('from the making of a user to the end of its keys', async () => {
    const ada = await json('users create ada --role operator')
    expect(ada).toMatchObject({ object: 'user', name: 'ada', role: 'operator', payer_key: null, disabled_at: null })
    const limits = '--budget 100 --budget-per-day 2.5 --requests-per-minute 20 --tokens-per-minute 9000'
    const made = await json(
      `keys create ci --user ada --role auditor ${limits} --payer-signature required --assurance required --privacy paranoid`,
    )
    expect(made).toMatchObject({
      user: 'ada',
      role: 'auditor',
      budget_total: '100000000',
      budget_per_day: '2500000',
      requests_per_minute: 20,
      tokens_per_minute: 9_000,
      payer_signature: 'required',
    })
    const changed = await json(`keys set ${made.id} --budget 0.000001 --budget-per-day none --models toy`)
    expect(changed).toMatchObject({
      budget_total: '1',
      budget_per_day: null,
      models: ['toy'],
      tokens_per_minute: 9_000,
    })
    const { out } = await lichen('users show ada')
    expect(out).toMatch(/role +operator/)
    expect(out).toMatch(/payer key +-/)
    expect(out).toMatch(/ci +ada +auditor +good +0\.000001 +- +20 +9000 +required +required +paranoid +yes +toy/)
    expect(await json('users role ada user')).toMatchObject({ role: 'user' })
    expect((await json('users disable ada')).disabled_at).not.toBeNull()
    expect((await lichen('keys ls --user ada')).out).toContain('user disabled')
    expect(await json('users enable ada')).toMatchObject({ disabled_at: null })
    expect((await lichen('users ls')).out).toMatch(/owner +owner +good/)
  })

  test('a payer key is set and taken away', async () => {
    await json('users create paul')
    const key = identityFromSeed(Buffer.alloc(32, 9)).publicKey.toString('base64url')
    expect(await json(`users payer-key paul ${key}`)).toMatchObject({ payer_key: key })
    expect(await json('users payer-key paul none')).toMatchObject({ payer_key: null })
    expect((await lichen('users payer-key paul nonsense')).code).toBe(1)
  })

  test('amounts with a seventh decimal, unknown roles and unknown users are refused', async () => {
    expect((await lichen('keys create x --budget 0.0000001')).code).toBe(2)
    expect((await lichen('users create x --role king')).code).toBe(2)
    const { code, err } = await lichen('keys create x --user nobody --json')
    expect({ code, problem: JSON.parse(err).error.code }).toEqual({ code: 1, problem: 'not_found' })
  })

  test('what the pool refuses is told as JSON with what to do about it', async () => {
    for (const line of [
      'workers show nosuch',
      'workers approve nosuch',
      'keys revoke nosuch',
      'keys create laptop --user nobody',
      'users show nobody',
      'users create owner',
      'admin-key add carl bb',
      'events --type nope',
      'invite --operator blocked-one --expires 3650d',
    ]) {
      const { code, out, err } = await lichen(`${line} --json`)
      expect({ code, out }, line).toEqual({ code: 1, out: '' })
      const { error } = JSON.parse(err)
      for (const part of ['code', 'message', 'fix']) expect(error[part], `${part} of ${line}`).toMatch(/\w/)
      expect(error.message, 'the fix is told once').not.toContain(error.fix)
    }
    const { err } = await lichen('users show nobody')
    expect(err).toMatch(/^lichen: There is no user nobody\.\n {2}See /)
  })

  test('an API key with a role administers as LICHEN_ADMIN_KEY, as far as its role goes', async () => {
    const [auditor, admin] = [await keyWithRole('auditor'), await keyWithRole('admin')]
    expect((await json('keys ls', { LICHEN_ADMIN_KEY: auditor })).data.length).toBeGreaterThan(0)
    const refused = await lichen('users create eve', { LICHEN_ADMIN_KEY: auditor })
    expect(refused.code).toBe(1)
    expect(refused.err).toContain('needs the role admin')
    expect(await json('users create eve', { LICHEN_ADMIN_KEY: admin })).toMatchObject({ name: 'eve' })
    const own = await json('keys create mine', { LICHEN_ADMIN_KEY: admin })
    expect(own.user).toBe('with admin')
  })
})

describe('admin keys', () => {
  const home = path.join(folder, 'config')
  const file = path.join(home, 'lichen/admin-keys/ada.key')

  test('a new one lies on this machine alone, readable by its owner, and the pool knows its public half', async () => {
    const made = await json('admin-key new ada', { XDG_CONFIG_HOME: home })
    expect(made).toMatchObject({ name: 'ada', file, registered: true })
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(statSync(path.dirname(file)).mode & 0o777).toBe(0o700)
    expect((await loadAdminKey(file)).publicKey.toString('base64url')).toBe(made.public_key)
    expect(JSON.stringify(made)).not.toContain(readFileSync(file, 'utf8').trim())
    expect((await json('admin-key ls')).data).toMatchObject([{ id: made.id, public_key: made.public_key }])
  })

  test('it is never written over', async () => {
    const before = readFileSync(file, 'utf8')
    const { code, err } = await lichen('admin-key new ada --json', { XDG_CONFIG_HOME: home })
    expect({ code, problem: JSON.parse(err).error.code }).toEqual({ code: 1, problem: 'conflict' })
    expect(readFileSync(file, 'utf8')).toBe(before)
  })

  test('it is never made inside a data folder, this pool’s or another’s', async () => {
    mkdirSync(data, { recursive: true })
    mkdirSync(path.join(folder, 'other/keys'), { recursive: true })
    writeFileSync(path.join(folder, 'other/pool.key'), '')
    for (const place of [path.join(data, 'x.key'), path.join(folder, 'other/keys/x.key')]) {
      const { code, err } = await lichen(`admin-key new bob --file ${place} --json`)
      expect({ code, problem: JSON.parse(err).error.code }, place).toEqual({ code: 1, problem: 'key_file_unsafe' })
    }
    const inside = await lichen('admin-key new bob --json', { XDG_CONFIG_HOME: data })
    expect(JSON.parse(inside.err).error.code).toBe('key_file_unsafe')
  })

  test('made without a pool, added by an owner, revoked by the beginning of its id', async () => {
    const place = path.join(folder, 'bob.key')
    const made = await json(`admin-key new bob --no-register --file ${place}`)
    expect(made.registered).toBe(false)
    expect(await json(`admin-key add bob ${made.public_key}`)).toMatchObject({ id: made.id, added_by: 'owner.key' })
    expect((await json(`admin-key revoke ${made.id.slice(0, 8)}`)).revoked_at).not.toBeNull()
    chmodSync(place, 0o644)
    await expect(loadAdminKey(place)).rejects.toMatchObject({ refusal: { code: 'key_file_unsafe' } })
  })

  test('where the pool does not take it, the key stays and the way on is said', async () => {
    const place = path.join(folder, 'carla.key')
    const key = await keyWithRole('operator')
    const { code, err } = await lichen(`admin-key new carla --file ${place}`, { LICHEN_ADMIN_KEY: key })
    expect(code).toBe(1)
    expect(err).toContain('needs the role owner')
    expect(err).toMatch(/admin-key add carla [\w-]{43}/)
    expect(statSync(place).mode & 0o777).toBe(0o600)
  })
})
