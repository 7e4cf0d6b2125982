import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Identity, poolItself } from '#identity'
import { systemRuntime } from '#runtime'
import { ApiDouble, adminOver } from '../../testkit/api-double.ts'
import { runCommand } from '../../testkit/run-command.ts'
import { SmallTill } from '../../testkit/small-till.ts'
import { type TestDatabase, testDatabase } from '../../testkit/test-database.ts'

const folder = mkdtempSync(path.join(os.tmpdir(), 'lichen-money-'))
const data = path.join(folder, 'data')
let db: TestDatabase
let identity: Identity
let till: SmallTill
let api: ApiDouble
beforeAll(async () => {
  db = await testDatabase()
  identity = new Identity(db.database, systemRuntime)
  till = await SmallTill.open(db.database)
  api = await ApiDouble.open({
    poolId: till.poolId,
    authenticate: (key) => identity.authenticate(key),
    admin: adminOver(db.database, identity),
    money: till.money,
    prices: async () => ({ pool_id: till.poolId, pool_key: '', prices: [] }),
  })
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  await till[Symbol.asyncDispose]()
  identity[Symbol.dispose]()
  await db.drop()
  rmSync(folder, { recursive: true })
})

/** Runs a command on Ada's machine, with the owner's key unless another is given. */
const lichen = (args: string | string[], more: Record<string, string> = {}) =>
  runCommand(folder, [...(typeof args === 'string' ? args.split(' ') : args), '--data', data], {
    env: { LICHEN_URL: api.url, LICHEN_ADMIN_KEY: 'owner', ...more },
  })

// biome-ignore lint/suspicious/noExplicitAny: the API's schemas are checked where the API is
async function json(args: string | string[], more?: Record<string, string>): Promise<any> {
  const { code, out, err } = await lichen([...(typeof args === 'string' ? args.split(' ') : args), '--json'], more)
  expect(err).toBe('')
  expect(code).toBe(0)
  return JSON.parse(out)
}

async function problemOf(args: string | string[], more?: Record<string, string>): Promise<unknown> {
  const { code, err } = await lichen([...(typeof args === 'string' ? args.split(' ') : args), '--json'], more)
  return { code, problem: JSON.parse(err.trim().split('\n').at(-1) ?? '').error.code }
}

test('from an admin key to credits that are in the history', async () => {
  await json('users create ada')
  expect(await problemOf('grant ada 100')).toEqual({ code: 1, problem: 'not_found' })
  const key = await json('admin-key new ada')
  const granted = await json(['grant', 'ada', '100.5', '--memo', '=1+1, "for you"'])
  expect(granted).toMatchObject({ object: 'transfer', kind: 'grant', from: 'issuance', amount: '100500000' })
  expect(await json('ledger balance ada')).toMatchObject({ account: granted.to, posted: '100500000', held: '0' })
  expect((await json('ledger history ada')).data).toMatchObject([
    { transfer: granted.id, amount: '100500000', signed_by: key.public_key, memo: '=1+1, "for you"' },
  ])
  const { out } = await lichen('ledger history ada')
  expect(out).toMatch(/1 +\S+Z +grant +100\.5 +100\.5 +issuance +[\w-]{43} +=1\+1, "for you"/)
  expect(out).toContain(key.public_key)
})

test('with several keys one must be named, and a revoked one grants nothing more', async () => {
  const bob = await json('admin-key new bob')
  expect(await problemOf('grant ada 1')).toEqual({ code: 1, problem: 'config_invalid' })
  expect(await json('grant ada 1 --key bob')).toMatchObject({ amount: '1000000' })
  await json(`admin-key revoke ${bob.id.slice(0, 8)}`)
  expect(await problemOf('grant ada 1 --key bob')).toEqual({ code: 1, problem: 'signature_refused' })
  expect(await problemOf(`grant ada 1 --key ada --pool ${'ab'.repeat(32)}`)).toEqual({ code: 1, problem: 'wrong_pool' })
  expect(await problemOf('grant nobody 1 --key ada')).toEqual({ code: 1, problem: 'not_found' })
  expect(await problemOf('grant ada 0 --key ada')).toEqual({ code: 2, problem: 'config_invalid' })
  expect(await problemOf('grant ada 0.0000001 --key ada')).toEqual({ code: 2, problem: 'config_invalid' })
  expect(await problemOf(['grant', 'ada', '1', '--key', 'ada', '--memo', 'x'.repeat(201)])).toMatchObject({ code: 2 })
})

test('Ada pays Bob with her own key, and nobody else can', async () => {
  const carl = await json('users create carl')
  const { public_key: payer, file } = await json('proxy --new-key')
  const own = await identity.createApiKey({ name: 'laptop', user: 'ada' }, poolItself)
  const keys = { LICHEN_API_KEY: own.key }
  expect(await problemOf(`pay ${carl.id} 2.5`, keys)).toEqual({ code: 1, problem: 'payer_signature_required' })
  await json(`users payer-key ada ${payer}`)
  const paid = await eventually(async () => {
    const { code, out } = await lichen('pay carl 2.5 --memo lunch --json', keys)
    return code === 0 ? JSON.parse(out) : undefined
  })
  expect(paid).toMatchObject({ kind: 'payment', to: carl.account, amount: '2500000' })
  expect((await json('ledger history carl')).data).toMatchObject([
    { amount: '2500000', signed_by: payer, memo: 'lunch', counterparties: [{ public_key: payer, amount: '2500000' }] },
  ])
  const asStranger = { ...keys, LICHEN_ADMIN_KEY: own.key }
  expect((await lichen('pay carl 1', asStranger)).err).toContain('give the account instead')
  expect(await json(`pay ${carl.account} 1 --payer-key ${file}`, asStranger)).toMatchObject({ amount: '1000000' })
  expect(await problemOf(`pay ${carl.id} 1000000`, keys)).toEqual({ code: 1, problem: 'insufficient_credit' })
  expect(await problemOf(`pay ${carl.id} 1 --payer-key nowhere.key`, keys)).toEqual({ code: 1, problem: 'not_found' })
})

test('a statement leads from opening to closing, and its CSV computes nothing', async () => {
  const statement = await json('ledger statement ada')
  const sum = statement.entries.reduce((total: bigint, entry: { amount: string }) => total + BigInt(entry.amount), 0n)
  expect(BigInt(statement.opening) + sum).toBe(BigInt(statement.closing))
  expect(statement.closing).toBe((await json('ledger balance ada')).posted)
  const { out } = await lichen('ledger statement ada --format csv')
  expect(out).toContain(`"'=1+1, ""for you"""`)
  expect(out).toMatch(/,payment,-2500000,/)
  expect((await lichen('ledger statement ada')).out).toMatch(/closing 98$/m)
  expect(await json('ledger statement ada --day 2020-01-01')).toMatchObject({ opening: '0', entries: [], closing: '0' })
  expect(await problemOf('ledger statement ada --day yesterday')).toMatchObject({ code: 2 })
  expect(await problemOf('ledger statement ada --format csv')).toMatchObject({ code: 2 })
})

test('a user who was never credited has an account with nothing in it', async () => {
  const dora = await json('users create dora')
  expect(await json('ledger balance dora')).toMatchObject({
    account: dora.account,
    posted: '0',
    held: '0',
    available: '0',
    entries: 0,
  })
  expect((await json('ledger history dora')).data).toEqual([])
  expect((await json('ledger holds --account dora')).data).toEqual([])
  expect(await json('ledger statement dora')).toMatchObject({ opening: '0', entries: [], closing: '0' })
  expect((await lichen('ledger balance')).out).toMatch(new RegExp(`${dora.account} +0 +0 +0`))
  expect(await problemOf('ledger balance user:00000000-0000-7000-8000-000000000000')).toMatchObject({
    problem: 'not_found',
  })
})

test('every account in the books can be asked for by the name it is listed under', async () => {
  const { data } = await json('ledger balance')
  const names: string[] = data.map((row: { account: string }) => row.account)
  expect(names).toEqual(expect.arrayContaining(['debt', 'issuance', 'pool', 'refund_reserve', 'treasury']))
  for (const name of names) expect(await json(`ledger balance ${name}`)).toMatchObject({ account: name })
})

test('who may not read the books is told which role may, and is not sent to ask for an account', async () => {
  const { key } = await json('keys create plain --user ada')
  for (const command of ['balance ada', 'history ada', 'statement ada', 'holds --account ada']) {
    const { code, err } = await lichen(`ledger ${command} --json`, { LICHEN_ADMIN_KEY: key })
    const { error } = JSON.parse(err)
    expect({ code, told: error.code }).toEqual({ code: 1, told: 'role_required' })
    expect(error.fix).toContain('auditor')
  }
})

test('an export has every transfer, on stdout or in a file that is whole', async () => {
  const { out } = await lichen('ledger export')
  const rows = out
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(rows.map(({ kind }) => kind).sort()).toEqual(['grant', 'grant', 'payment', 'payment'])
  const { bytes } = await json('ledger export --format csv --out all.csv')
  const csv = readFileSync(path.join(folder, 'all.csv'), 'utf8')
  expect(Buffer.byteLength(csv)).toBe(bytes)
  expect(csv.split('\r\n')[0]).toContain('from_key')
  expect(await problemOf('ledger export --out no/where.csv')).toEqual({ code: 1, problem: 'not_written' })
  const { err } = await lichen('ledger export --out no/where.csv')
  expect(err).toContain('no/where.csv cannot be written (ENOENT).\n')
  expect(readdirSync(folder).filter((name) => name.endsWith('.part'))).toEqual([])
})

test('prices are listed and set, from now or from later on', async () => {
  expect((await lichen('prices')).out).toMatch(/\* +completion_token +0\.0004 +now +default/)
  const set = await json(['prices', 'set', '*', '--prompt-token', '0.0002', '--completion-token', '0.000401'])
  expect(set.data).toMatchObject([
    { model: '*', unit: 'prompt_token', amount: '200', current: true, set_by: 'owner.key' },
    { model: '*', unit: 'completion_token', amount: '401', current: true },
  ])
  const later = '2100-01-01T00:00:00Z'
  expect((await json(`prices set big --prompt-token 1 --from ${later}`)).data).toMatchObject([{ current: false }])
  expect((await lichen('prices ls')).out).toMatch(/big +prompt_token +1 +from 2100-01-01/)
  expect(await problemOf('prices set big --prompt-token 1 --from 2020-01-01')).toMatchObject({ code: 1 })
  const dear = await lichen(['prices', 'set', 'big', '--completion-token', '3.000001'])
  expect(dear).toMatchObject({ code: 1, err: expect.stringContaining('must be between 0 and 3000000.') })
  expect(await problemOf('prices set big')).toMatchObject({ code: 2 })
  const acts = await db.sql`select subject, details from acts where action = 'price.set' order by seq`
  expect(acts).toMatchObject([{ subject: 'model:*', details: { prompt_token: '200' } }, { subject: 'model:big' }])
})

test('what runs has its credits reserved, and that is seen', async () => {
  expect((await lichen('ledger holds')).out).toBe('Nothing is reserved.\n')
  const { account } = await json('ledger balance ada')
  const hold = await till.hold(account, 7_000_000n)
  expect((await json('ledger holds --account ada')).data).toMatchObject([{ id: hold, account, amount: '7000000' }])
  expect((await json('ledger holds --account carl')).data).toEqual([])
  expect((await lichen('ledger balance')).out).toMatch(new RegExp(`${account} +98 +7 +91 `))
})

test('a damaged or open key file signs nothing', async () => {
  const file = path.join(folder, 'bad.key')
  writeFileSync(file, 'nonsense\n', { mode: 0o644 })
  expect(await problemOf(`grant ada 1 --file ${file}`)).toEqual({ code: 1, problem: 'key_file_unsafe' })
})

async function eventually<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (let tries = 0; ; tries++) {
    const found = await look()
    if (found !== undefined || tries > 20) return found as T
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}
