import { once } from 'node:events'
import http from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { generateIdentity, type Identity as KeyPair, leafHash, sha256 } from '#crypto'
import { Identity, poolItself } from '#identity'
import { auditAccountKeys, auditAuthorisations, auditPrices, transferLeaf } from '#ledger'
import { PoolKeys } from '#log'
import { encodeMessage, encodeSigned, type Grant, signBatch, type Transfer } from '#protocol'
import { systemRuntime } from '#runtime'
import { ApiDouble, adminOver } from '../../testkit/api-double.ts'
import { SmallTill } from '../../testkit/small-till.ts'
import { type TestDatabase, testDatabase } from '../../testkit/test-database.ts'
import { testPool } from '../../testkit/with-papers.ts'

const admin = generateIdentity(systemRuntime)
const lost = generateIdentity(systemRuntime)
const anns = generateIdentity(systemRuntime)
const day = 86_400_000

let db: TestDatabase
let identity: Identity
let till: SmallTill
let api: ApiDouble
/** API keys. */
let ann = ''
let bob = ''
let auditor = ''
/** Accounts. */
let annAccount = ''
let bobAccount = ''
beforeAll(async () => {
  db = await testDatabase()
  identity = new Identity(db.database, systemRuntime)
  till = await SmallTill.open(db.database)
  api = await ApiDouble.open({
    poolId: till.poolId,
    authenticate: (key) => identity.authenticate(key),
    admin: adminOver(db.database, identity),
    money: till.money,
  })
  await identity.addAdminKey({ name: 'ada', publicKey: admin.publicKey }, poolItself)
  const { id } = await identity.addAdminKey({ name: 'lost', publicKey: lost.publicKey }, poolItself)
  await identity.revokeAdminKey(id, poolItself)
  const user = async (name: string, role: 'user' | 'auditor' = 'user', payerKey: Buffer | null = null) => {
    const { account } = await identity.createUser({ name, role, payerKey }, poolItself)
    const { key } = await identity.createApiKey({ name, user: name, role, budgetTotal: 5_000n }, poolItself)
    return [key, account] as const
  }
  ;[ann, annAccount] = await user('ann', 'user', anns.publicKey)
  ;[bob, bobAccount] = await user('bob')
  ;[auditor] = await user('eve', 'auditor')
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  await till[Symbol.asyncDispose]()
  identity[Symbol.dispose]()
  await db.drop()
})

interface Reply {
  status: number
  // biome-ignore lint/suspicious/noExplicitAny: what is expected of it stands in each test
  body: any
}

async function ask(method: string, path: string, body?: unknown, key = 'owner'): Promise<Reply> {
  const answer = await fetch(api.url + path, {
    method,
    headers: { authorization: `Bearer ${key}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await answer.text()
  return {
    status: answer.status,
    body: answer.headers.get('content-type')?.includes('json;') ? JSON.parse(text) : text,
  }
}

function signed(type: 'grant/1' | 'transfer/1', message: Grant | Transfer, by: KeyPair): string {
  const bytes = encodeMessage(type, message as Grant & Transfer)
  const [signature] = signBatch(by, [{ type, bytes }])
  if (!signature) throw new Error('a batch of one')
  return encodeSigned({ bytes, signature }).toString('base64url')
}
const grantOf = (wrong: Partial<Grant> = {}): Grant => ({
  pool: sha256(testPool.publicKey),
  to: annAccount,
  amount: 1_000n,
  id: systemRuntime.uuid(),
  memo: '',
  at: Date.now(),
  ...wrong,
})
const transferOf = (wrong: Partial<Transfer> = {}): Transfer => ({
  pool: sha256(testPool.publicKey),
  from: annAccount,
  to: bobAccount,
  amount: 10n,
  id: systemRuntime.uuid(),
  memo: '',
  expires: Date.now() + 60_000,
  ...wrong,
})
const grant = (wire: string, key?: string) => ask('POST', '/v1/admin/grants', { grant: wire }, key)
const pay = (wire: string, key = ann) => ask('POST', '/v1/transfers', { transfer: wire }, key)
const posted = async (account: string) => {
  const { status, body } = await ask('GET', `/v1/admin/ledger/accounts/${account}`)
  return status === 404 ? 0n : BigInt(body.posted)
}
const code = ({ status, body }: Reply) => ({ status, code: body.error?.code })

describe('grants', () => {
  test('one by a registered key raises the balance, is in the history under that key, and in the log', async () => {
    const message = grantOf({ memo: 'welcome' })
    const wire = signed('grant/1', message, admin)
    const before = await posted(annAccount)
    const { status, body } = await grant(wire)
    expect(status).toBe(201)
    expect(body).toMatchObject({ object: 'transfer', id: message.id, kind: 'grant', to: annAccount, amount: '1000' })
    expect(await posted(annAccount)).toBe(before + 1_000n)
    const { body: history } = await ask('GET', `/v1/admin/ledger/accounts/${annAccount}/history?limit=1`)
    expect(history.data).toMatchObject([
      {
        transfer: message.id,
        amount: '1000',
        signed_by: admin.publicKey.toString('base64url'),
        memo: 'welcome',
        counterparties: [{ account: 'issuance', public_key: testPool.publicKey.toString('base64url'), amount: '1000' }],
      },
    ])
    const [leaf] = await db.sql`select hash from log_leaves where kind = 'transfer' and ref = ${message.id}`
    const { id, to, amount } = message
    const op = { op: 'transfer', id, kind: 'grant', from: 'issuance', to, amount, at: Date.parse(body.at) } as const
    const data = transferLeaf({ ...op, authorisation: Buffer.from(wire, 'base64url') })
    expect(leaf?.hash).toEqual(leafHash(data))
  })

  test('the same one again, even at once and by several, is one grant with one answer', async () => {
    const wire = signed('grant/1', grantOf(), admin)
    const before = await posted(annAccount)
    const answers = await Promise.all(Array.from({ length: 8 }, () => grant(wire)))
    expect(new Set(answers.map((one) => JSON.stringify(one))).size).toBe(1)
    expect(await grant(wire)).toEqual(answers[0])
    expect(answers[0]?.status).toBe(201)
    expect(await posted(annAccount)).toBe(before + 1_000n)
    expect(await till.ledger.audit()).toMatchObject({ ok: true })
  })

  test('the same id with another amount, or on another account, is a conflict', async () => {
    const message = grantOf()
    await grant(signed('grant/1', message, admin))
    for (const wrong of [{ amount: 999n }, { to: bobAccount }, { memo: 'x' }]) {
      expect(code(await grant(signed('grant/1', { ...message, ...wrong }, admin)))).toEqual({
        status: 409,
        code: 'ledger_conflict',
      })
    }
  })

  const uuidOfZeros = '00000000-0000-0000-0000-000000000000'
  const refused: [string, string, () => string][] = [
    ['by a revoked key', 'signature_refused', () => signed('grant/1', grantOf(), lost)],
    ['by the pool itself', 'signature_refused', () => signed('grant/1', grantOf(), testPool)],
    ['by anybody', 'signature_refused', () => signed('grant/1', grantOf(), anns)],
    ['for another pool', 'order_wrong_pool', () => signed('grant/1', grantOf({ pool: Buffer.alloc(32, 1) }), admin)],
    ['from two days ago', 'order_expired', () => signed('grant/1', grantOf({ at: Date.now() - 2 * day }), admin)],
    [
      'from the day after tomorrow',
      'order_expired',
      () => signed('grant/1', grantOf({ at: Date.now() + 2 * day }), admin),
    ],
    ['of nothing', 'invalid_request', () => signed('grant/1', grantOf({ amount: 0n }), admin)],
    ['of too much', 'invalid_request', () => signed('grant/1', grantOf({ amount: 10n ** 15n + 1n }), admin)],
    ['with the nil id', 'invalid_request', () => signed('grant/1', grantOf({ id: uuidOfZeros }), admin)],
    ['to nobody', 'not_found', () => signed('grant/1', grantOf({ to: `user:${systemRuntime.uuid()}` }), admin)],
    ['to the pool', 'not_found', () => signed('grant/1', grantOf({ to: 'pool' }), admin)],
    ['that is a transfer', 'invalid_request', () => signed('transfer/1', transferOf(), admin)],
    ['in another spelling', 'invalid_request', () => `${signed('grant/1', grantOf(), admin)}=`],
    ['that is nonsense', 'invalid_request', () => 'AAAA'],
  ]
  test.each(refused)('one %s is refused as %s, and nothing moves', async (_, expected, wire) => {
    const before = [await posted(annAccount), await posted(bobAccount)]
    expect(code(await grant(wire())).code).toBe(expected)
    expect([await posted(annAccount), await posted(bobAccount)]).toEqual(before)
  })

  test('no bit of one can be changed', async () => {
    const wire = Buffer.from(signed('grant/1', grantOf(), admin), 'base64url')
    const before = await posted(annAccount)
    const statuses = await Promise.all(
      Array.from({ length: wire.length }, (_, at) => {
        const changed = Buffer.from(wire)
        changed[at] = (changed[at] ?? 0) ^ 1
        return grant(changed.toString('base64url'))
      }),
    )
    expect(statuses.filter(({ status }) => status < 400 || status >= 500)).toEqual([])
    expect(await posted(annAccount)).toBe(before)
  })
})

describe('users pay each other', () => {
  test('with the key they registered, once', async () => {
    const before = await posted(annAccount)
    const wire = signed('transfer/1', transferOf({ memo: 'lunch' }), anns)
    const first = await pay(wire)
    expect(first).toMatchObject({
      status: 201,
      body: { kind: 'payment', from: annAccount, to: bobAccount, amount: '10' },
    })
    expect(await pay(wire)).toEqual(first)
    expect(await posted(annAccount)).toBe(before - 10n)
    const { body } = await ask('GET', `/v1/admin/ledger/accounts/${bobAccount}/history`)
    const key = anns.publicKey.toString('base64url')
    expect(body.data[0]).toMatchObject({
      amount: '10',
      kind: 'payment',
      signed_by: key,
      memo: 'lunch',
      counterparties: [{ account: annAccount, public_key: key, amount: '10' }],
    })
  })

  const refused: [string, string, () => [wire: string, key?: string]][] = [
    ['sent with another’s API key', 'signature_refused', () => [signed('transfer/1', transferOf(), anns), bob]],
    ['signed by another', 'signature_refused', () => [signed('transfer/1', transferOf(), admin)]],
    [
      'without a payer key',
      'payer_signature_required',
      () => [signed('transfer/1', transferOf({ from: bobAccount, to: annAccount }), admin), bob],
    ],
    ['that is over', 'order_expired', () => [signed('transfer/1', transferOf({ expires: Date.now() - 1 }), anns)]],
    [
      'for another pool',
      'order_wrong_pool',
      () => [signed('transfer/1', transferOf({ pool: Buffer.alloc(32) }), anns)],
    ],
    ['to oneself', 'invalid_request', () => [signed('transfer/1', transferOf({ to: annAccount }), anns)]],
    ['to nobody', 'not_found', () => [signed('transfer/1', transferOf({ to: `user:${systemRuntime.uuid()}` }), anns)]],
    ['to a worker', 'not_found', () => [signed('transfer/1', transferOf({ to: `worker:${'ab'.repeat(32)}` }), anns)]],
    [
      'of more than there is',
      'insufficient_credit',
      () => [signed('transfer/1', transferOf({ amount: 10n ** 12n }), anns)],
    ],
  ]
  test.each(refused)('a transfer %s is refused as %s', async (_, expected, wrong) => {
    const [wire, key] = wrong()
    const before = await posted(annAccount)
    expect(code(await pay(wire, key)).code).toBe(expected)
    expect(await posted(annAccount)).toBe(before)
  })

  test('what a request has reserved cannot be paid away', async () => {
    const all = await posted(annAccount)
    await till.hold(annAccount, all - 5n)
    const reply = await pay(signed('transfer/1', transferOf({ amount: 6n }), anns))
    expect(code(reply)).toEqual({ status: 402, code: 'insufficient_credit' })
    expect(reply.body.error.message).toContain('0.000005 credits')
    expect((await pay(signed('transfer/1', transferOf({ amount: 5n }), anns))).status).toBe(201)
    const { body } = await ask('GET', '/v1/account', undefined, ann)
    expect(body).toMatchObject({ account: annAccount, available: '0', payer_key: anns.publicKey.toString('base64url') })
    expect(body.budget).toMatchObject({ total: '5000', total_left: '5000', per_day: null, per_day_left: null })
  })

  test('who was never credited has an account with nothing', async () => {
    const { body } = await ask('GET', '/v1/account', undefined, auditor)
    expect(body).toMatchObject({ posted: '0', held: '0', available: '0', payer_key: null })
  })
})

describe('what an auditor reads', () => {
  test('accounts, holds and histories come in pages that miss nothing', async () => {
    const collect = async (path: string, nameOf: (row: Record<string, string>) => string) => {
      const seen: string[] = []
      for (let after = ''; ; ) {
        const { status, body } = await ask('GET', `${path}?limit=2${after && `&after=${after}`}`, undefined, auditor)
        expect(status).toBe(200)
        seen.push(...body.data.map(nameOf))
        if (!body.has_more) return seen
        after = seen.at(-1) ?? ''
      }
    }
    const root = '/v1/admin/ledger'
    const accounts = await collect(`${root}/accounts`, (row) => row.account ?? '')
    expect(accounts).toEqual([...new Set(accounts)].sort())
    expect(accounts).toEqual(expect.arrayContaining([annAccount, bobAccount, 'issuance', 'pool', 'treasury']))
    const history = (await collect(`${root}/accounts/${annAccount}/history`, (row) => String(row.seq))).map(Number)
    expect(history).toEqual(history.map((_, n) => history.length - n))
    expect(await collect(`${root}/holds`, (row) => row.id ?? '')).toHaveLength(1)
  })

  test('a day’s statement sums, as JSON and as CSV', async () => {
    await grant(signed('grant/1', grantOf({ memo: '=cmd|"/c calc"!A1' }), admin))
    const path = `/v1/admin/ledger/accounts/${annAccount}/statement`
    const { body } = await ask('GET', path, undefined, auditor)
    const moved = body.entries.reduce((sum: bigint, { amount }: { amount: string }) => sum + BigInt(amount), 0n)
    expect(BigInt(body.opening) + moved).toBe(BigInt(body.closing))
    expect(BigInt(body.closing)).toBe(await posted(annAccount))
    const { body: csv } = await ask('GET', `${path}?day=${body.day}&format=csv`, undefined, auditor)
    const rows = csv.trimEnd().split('\r\n').slice(2, -1) as string[]
    expect(rows.map((row) => row.split(',')[4])).toEqual(body.entries.map(({ amount }: { amount: string }) => amount))
    expect(csv).toContain(`,"'=cmd|""/c calc""!A1"\r\n`)
    expect(csv).not.toMatch(/(^|,|")[=+@]/m)
    expect(code(await ask('GET', `${path}?day=2026-02-30`, undefined, auditor))).toEqual({
      status: 400,
      code: 'invalid_request',
    })
  })

  test('an export is everything, and grants in it can be checked', async () => {
    const { body: text } = await ask('GET', '/v1/admin/ledger/export', undefined, auditor)
    const rows = text
      .trimEnd()
      .split('\n')
      .map((line: string) => JSON.parse(line))
    const [count] = await db.sql`select count(*)::int as n from transfers`
    expect(rows).toHaveLength(count?.n)
    const granted = rows.filter((row: { kind: string }) => row.kind === 'grant')
    for (const { signed_by, authorisation, id } of granted) {
      expect(signed_by).toBe(admin.publicKey.toString('base64url'))
      expect(await grant(authorisation)).toMatchObject({ status: 201, body: { id } })
    }
    const { body: csv } = await ask('GET', '/v1/admin/ledger/export?format=csv', undefined, auditor)
    expect(csv).not.toMatch(/(^|,|")[=+@]/m)
    expect(
      (
        await fetch(`${api.url}/v1/admin/ledger/export`, {
          method: 'HEAD',
          headers: { authorization: `Bearer ${auditor}` },
        })
      ).status,
    ).toBe(200)
  })

  test('and nothing can be changed with its key', async () => {
    expect(code(await grant(signed('grant/1', grantOf(), admin), auditor)).code).toBe('role_required')
    expect(code(await ask('POST', '/v1/admin/prices', { model: '*', prompt_token: '0' }, auditor)).code).toBe(
      'role_required',
    )
    expect(code(await ask('GET', '/v1/admin/ledger/accounts', undefined, ann)).code).toBe('role_required')
  })
})

test('a price is set for all its units or none, by whom is on record', async () => {
  const set = (body: object) => ask('POST', '/v1/admin/prices', body)
  expect(await set({ model: 'm', prompt_token: '7', completion_token: '9' })).toMatchObject({ status: 201 })
  expect(await till.ledger.prices.for('m')).toEqual({ prompt: 7n, completion: 9n })
  const { body } = await ask('GET', '/v1/admin/prices', undefined, auditor)
  expect(body.data.filter(({ model }: { model: string }) => model === 'm')).toHaveLength(2)
  const acts = await db.sql`select actor, details from acts where action = 'price.set'`
  expect(acts).toMatchObject([{ actor: 'owner.key', details: { prompt_token: '7', completion_token: '9' } }])
  for (const wrong of [
    { model: 'm' },
    { model: 'm', prompt_token: '-1' },
    { model: 'm', prompt_token: '1000000000000001' },
    { model: 'm', prompt_token: 5 },
    { model: 'x'.repeat(300), prompt_token: '5' },
    { model: 'm', prompt_token: '5', valid_from: '2020-01-01T00:00:00Z' },
  ]) {
    expect(code(await set(wrong)), JSON.stringify(wrong)).toEqual({ status: 400, code: 'invalid_request' })
  }
})

test('after all this an audit finds every signature, key and price in order', async () => {
  const facts = {
    keys: new PoolKeys(testPool.publicKey),
    adminKeys: new Set([admin.publicKey.toString('hex')]),
    payerKeys: (account: string) => new Set(account === annAccount ? [anns.publicKey.toString('hex')] : []),
  }
  expect(await auditPrices(db.sql)).toBeUndefined()
  expect(await auditAuthorisations(db.sql, facts)).toBeUndefined()
  expect(await auditAccountKeys(db.sql, facts)).toBeUndefined()
  expect(await till.ledger.audit()).toMatchObject({ ok: true })
})

describe('a long export', () => {
  async function* forever(produced: { n: number; ended: boolean }): AsyncGenerator<string> {
    try {
      for (;;) {
        produced.n++
        yield `${'x'.repeat(65_535)}\n`
      }
    } finally {
      produced.ended = true
    }
  }
  async function open(exportRows: () => AsyncGenerator<string>) {
    const ledger = Object.assign(Object.create(till.ledger) as typeof till.ledger, { exportRows })
    const endless = await ApiDouble.open({ money: { ...till.money, ledger } })
    const get = async () => {
      const request = http.get(`${endless.url}/v1/admin/ledger/export`, { headers: { authorization: 'Bearer owner' } })
      request.on('error', () => {})
      const [response] = (await once(request, 'response')) as [http.IncomingMessage]
      response.on('error', () => {})
      return { request, response }
    }
    return { endless, get }
  }
  const until = async (done: () => boolean) => {
    for (let tries = 0; tries < 200 && !done(); tries++) await new Promise((resolve) => setTimeout(resolve, 10))
    expect(done()).toBe(true)
  }

  test('is made no faster than it is read, ends when its reader leaves, and only four run at once', async () => {
    const produced: { n: number; ended: boolean }[] = []
    const { endless, get } = await open(() => {
      const one = { n: 0, ended: false }
      produced.push(one)
      return forever(one)
    })
    const readers = [await get(), await get(), await get(), await get()]
    expect((await get()).response.statusCode).toBe(503)
    let before = -1
    await until(() => {
      const now = produced[0]?.n ?? 0
      const still = now === before
      before = now
      return still
    })
    expect(before).toBeLessThan(500) // 32 MiB: what sockets on loopback take
    for (const { request } of readers) request.destroy()
    await until(() => produced.every(({ ended }) => ended))
    const again = await get()
    expect(again.response.statusCode).toBe(200)
    again.request.destroy()
    await endless[Symbol.asyncDispose]()
  })

  test('that breaks is cut off, and one that cannot begin is refused', async () => {
    const { endless } = await open(async function* () {
      yield 'first\n'
      throw new Error('the disk is gone')
    })
    const answer = fetch(`${endless.url}/v1/admin/ledger/export`, { headers: { authorization: 'Bearer owner' } })
    await expect(answer.then((head) => head.text())).rejects.toThrow()
    expect(endless.errors).toMatchObject([{ err: { message: 'the disk is gone' } }])
    await endless[Symbol.asyncDispose]()
    // biome-ignore lint/correctness/useYield: it fails before it has anything
    const dead = await open(async function* () {
      throw new Error('no database')
    })
    expect((await dead.get()).response.statusCode).toBe(500)
    await dead.endless[Symbol.asyncDispose]()
  })
})
