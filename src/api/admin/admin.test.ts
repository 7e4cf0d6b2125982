import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { z } from 'zod'
import { generateIdentity } from '#crypto'
import { factKinds } from '#federation'
import { Identity, parseInvite } from '#identity'
import { EventJournal } from '#observability'
import type { WorkerId } from '#protocol'
import { systemRuntime } from '#runtime'
import { Workers } from '#workers'
import { ApiDouble, adminOver, toyDigest } from '../../testkit/api-double.ts'
import { RawWorker } from '../../testkit/raw-worker.ts'
import { sessionPair } from '../../testkit/session-pair.ts'
import { type TestDatabase, testDatabase } from '../../testkit/test-database.ts'
import { adminRoutes } from './admin-routes.ts'

let db: TestDatabase
let identity: Identity
let workers: Workers
let api: ApiDouble
let journal: EventJournal
beforeAll(async () => {
  db = await testDatabase()
  identity = new Identity(db.database, systemRuntime)
  workers = new Workers({ runtime: systemRuntime })
  journal = new EventJournal({ database: db.database, runtime: systemRuntime, onProblem: () => {} })
  api = await ApiDouble.open({
    authenticate: (key) => identity.authenticate(key),
    admin: adminOver(db.database, identity, {
      workers,
      journal,
      inviteUrl: () => 'https://pool.example',
      queueMax: 1_024,
      warnings: () => ['Listening without TLS.'],
    }),
  })
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  workers.close()
  await journal[Symbol.asyncDispose]()
  identity[Symbol.dispose]()
  await db.drop()
})

interface Reply {
  status: number
  // biome-ignore lint/suspicious/noExplicitAny: replies are checked against their schemas in the first test
  body: any
}

async function ask(method: string, path: string, body?: unknown, key = 'owner'): Promise<Reply> {
  const answer = await fetch(`${api.url}/v1/admin${path}`, {
    method,
    headers: { authorization: `Bearer ${key}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const reply = { status: answer.status, body: await answer.json() }
  if (answer.ok) replySchema(method, path)?.parse(reply.body)
  return reply
}

/** The schema that `/openapi.json` promises for this call. */
function replySchema(method: string, path: string): z.ZodType | undefined {
  const limits = { pageMax: 500, pageDefault: 50 } as Parameters<typeof adminRoutes>[1]
  const deps = {
    admin: { identity, workers },
    runtime: systemRuntime,
    jobs: api.jobs,
    models: api.models,
    factsAdmin: {},
  }
  const routes = adminRoutes(
    // what these routes read of it is here, and real
    deps as unknown as Parameters<typeof adminRoutes>[0],
    limits,
    {} as Parameters<typeof adminRoutes>[2],
  )
  const pattern = (route: string) => new RegExp(`^${route.replace(/:\w+/g, '[^/]+')}$`)
  const found = routes.find(
    (route) => route.method === method && pattern(route.path).test(`/v1/admin${path.split('?')[0]}`),
  )
  expect(found).toBeDefined()
  return found?.reply
}

async function joinWorker(operator: string): Promise<{ id: string; raw: RawWorker }> {
  const { body } = await ask('POST', '/invites', { operator, expires_in_ms: 3_600_000 })
  const parsed = parseInvite(body.invite)
  if (!parsed.ok) throw new Error(parsed.refusal.message)
  const { id, publicKey } = generateIdentity(systemRuntime)
  const verdict = await identity.admitWorker({ id: id as WorkerId, publicKey, token: parsed.invite.token })
  if (!verdict.ok) throw new Error(verdict.refusal.message)
  const pair = sessionPair(id)
  workers.attach(pair.pool, { ...verdict, expiresAt: new Date(verdict.expiresAt) })
  const raw = new RawWorker(pair.worker).hello()
  await new Promise((resolve) => setTimeout(resolve, 20))
  return { id, raw }
}

test('a kind of facts that there is not is refused with those that there are', async () => {
  const { status, body } = await ask('GET', '/federation/facts?kind=nope')
  expect(status).toBe(400)
  for (const kind of factKinds) expect(body.error.message).toContain(`'${kind}'`)
})

describe('who may come', () => {
  test.each([
    ['missing_api_key', 401, {}],
    ['invalid_api_key', 401, { authorization: 'Bearer sk-lichen-something' }],
  ])('%s', async (code, status, headers) => {
    for (const [method, path] of [
      ['GET', '/status'],
      ['POST', '/keys'],
      ['GET', '/workers/abc'],
      ['DELETE', '/keys/x'],
    ]) {
      const answer = await fetch(`${api.url}/v1/admin${path}`, {
        method: method as string,
        headers: headers as Record<string, string>,
      })
      expect(answer.status).toBe(status)
      expect(await answer.json()).toMatchObject({ error: { code } })
    }
  })

  test('an API key without a role administers nothing, and the owner’s key answers no chat', async () => {
    const { body } = await ask('POST', '/keys', { name: 'ada' })
    expect(await ask('GET', '/status', undefined, body.key)).toMatchObject({
      status: 403,
      body: { error: { code: 'role_required', message: expect.stringContaining('auditor') } },
    })
    const chat = await api.post('/v1/chat/completions', {}, { authorization: 'Bearer owner' })
    expect(chat.status).toBe(401)
  })
})

describe('API keys', () => {
  test('a key is made, works, is listed without its secret, and is refused once revoked', async () => {
    const made = await ask('POST', '/keys', {
      name: 'laptop',
      models: ['toy'],
      requests_per_minute: 600,
      expires_in_ms: 60_000,
    })
    expect(made).toMatchObject({
      status: 201,
      body: { object: 'api_key', name: 'laptop', models: ['toy'], requests_per_minute: 600, weight: 1 },
    })
    const { id, key } = made.body
    const models = await fetch(`${api.url}/v1/models`, { headers: { 'x-api-key': key } })
    expect(((await models.json()) as { data: { id: string }[] }).data.map((model) => model.id)).toEqual(['toy'])
    const { body: list } = await ask('GET', '/keys')
    expect(JSON.stringify(list)).not.toContain(key)
    expect(list.data.some((row: { id: string }) => row.id === id)).toBe(true)
    const revoked = await ask('DELETE', `/keys/${id}`)
    expect(revoked.body.revoked_at).not.toBeNull()
    const refused = await fetch(`${api.url}/v1/models`, { headers: { 'x-api-key': key } })
    expect(refused.status).toBe(401)
    expect(await refused.json()).toMatchObject({ error: { code: 'revoked_api_key' } })
  })

  test('lists come in pages', async () => {
    for (const name of ['a', 'b', 'c']) await ask('POST', '/keys', { name })
    const all = (await ask('GET', '/keys?limit=500')).body.data.map((row: { id: string }) => row.id)
    const seen: string[] = []
    let page = (await ask('GET', '/keys?limit=2')).body
    seen.push(...page.data.map((row: { id: string }) => row.id))
    while (page.has_more) {
      page = (await ask('GET', `/keys?limit=2&after=${seen.at(-1)}`)).body
      seen.push(...page.data.map((row: { id: string }) => row.id))
    }
    expect(seen).toEqual(all)
    expect(seen.length).toBeGreaterThan(3)
  })

  test.each([
    ['POST', '/keys', {}, 400, 'name'],
    ['POST', '/keys', { name: 'x', colour: 'red' }, 400, 'colour'],
    ['POST', '/keys', { name: 'x', requests_per_minute: 0 }, 400, 'requests_per_minute'],
    ['GET', '/keys?limit=0', undefined, 400, 'limit'],
    ['GET', '/keys?limit=many', undefined, 400, 'limit'],
    ['GET', '/keys?after=nonsense', undefined, 400, 'after'],
    ['GET', '/workers?after=nonsense', undefined, 400, 'after'],
    ['GET', '/jobs?state=happy', undefined, 400, 'state'],
    ['DELETE', '/keys/nonsense', undefined, 404, null],
    ['GET', '/jobs/nonsense', undefined, 404, null],
    ['GET', '/workers/ffffffff', undefined, 404, null],
    ['POST', '/workers/ffffffff/approve', {}, 404, null],
    ['POST', '/invites', { operator: ' ' }, 400, 'operator'],
    ['POST', '/invites', { operator: 'ada', expires_in_ms: 1e15 }, 400, 'expires'],
  ])('%s %s %j is refused with %d', async (method, path, body, status, param) => {
    expect(await ask(method, path, body)).toMatchObject({ status, body: { error: { param } } })
  })
})

describe('workers', () => {
  test('from invite to revocation, every act is on record', async () => {
    const { id } = await joinWorker('alice')
    const row = async () => (await ask('GET', `/workers/${id}`)).body
    expect(await row()).toMatchObject({
      operator: 'alice',
      standing: 'pending',
      connected: true,
      agent: 'raw/1',
      slots: 2,
      active: 0,
      tokens_per_second: null,
      models: [{ name: 'demo', digest: toyDigest, engine: 'llama', context: 2_048 }],
      violations: [],
    })
    expect((await ask('POST', `/workers/${id}/approve`, {})).body.standing).toBe('approved')
    const renewed = await ask('POST', `/workers/${id}/renew`, { expires_in_ms: 7 * 86_400_000 })
    expect(Date.parse(renewed.body.expires_at)).toBeGreaterThan(Date.now() + 6 * 86_400_000)
    expect((await ask('POST', `/workers/${id}/revoke`)).body.standing).toBe('revoked')
    expect(await ask('POST', `/workers/${id}/approve`)).toMatchObject({
      status: 409,
      body: { error: { code: 'conflict' } },
    })
    const { acts } = await row()
    expect(acts.map((one: { act: string; by: string }) => `${one.act} ${one.by}`)).toEqual([
      'invited owner.key',
      'joined worker',
      'approved owner.key',
      'renewed owner.key',
      'revoked owner.key',
    ])
  })

  test('a connected worker is drained and taken back; one that is away cannot be', async () => {
    const { id, raw } = await joinWorker('bob')
    await ask('POST', `/workers/${id}/approve`)
    workers.standingChanged(id as WorkerId, { standing: 'approved', expiresAt: null, operator: 'bob' })
    expect((await ask('POST', `/workers/${id}/drain`)).body.draining).toBe(true)
    expect((await ask('POST', `/workers/${id}/drain`, { on: false })).body.draining).toBe(false)
    raw.session.close(1001, 'bye')
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(await ask('POST', `/workers/${id}/drain`)).toMatchObject({ status: 409 })
    expect((await ask('GET', '/workers')).body.data.find((row: { id: string }) => row.id === id)).toMatchObject({
      connected: false,
      connected_since: null,
      models: [],
    })
  })

  test('an invite names this pool and is told how long it is good for', async () => {
    const { status, body } = await ask('POST', '/invites', { operator: 'carla' })
    expect(status).toBe(201)
    const parsed = parseInvite(body.invite)
    expect(parsed).toMatchObject({ ok: true, invite: { url: 'https://pool.example', poolId: 'cd'.repeat(32) } })
    expect(Date.parse(body.worker_expires_at)).toBeGreaterThan(Date.now() + 29 * 86_400_000)
  })
})

test('an auditor reads which answers were looked at, and how that left the workers', async () => {
  const [ann, bob] = ['a'.repeat(64), 'b'.repeat(64)]
  for (const [n, worker] of [ann, bob, ann].entries()) {
    await db.sql`
      insert into checks (id, job_id, choice, attempt, worker_id, model, epoch, q_ppm, reason, state, waived, verifier, score, owed_at, ended_at)
      values (${`00000000-0000-7000-8000-00000000000${n}`}, ${systemRuntime.uuid()}, 0, 0, ${worker}, 'demo', 490000, 30000, 'sampled',
              ${n === 2 ? 'waived' : 'clean'}, ${n === 2 ? 'no_verifier' : null}, ${bob}, 0.125, now(), now())`
  }
  await db.sql`
    insert into standings (worker_id, model, duty, phase, clean, heights, posterior_clean, posterior_hits, accusers, changed_at)
    values (${ann}, 'demo', 'serve', 'trusted', 700, '{0,0,1500000}', 199, 0, '{}', now()),
           (${ann}, 'demo', 'verify', 'frozen', 3, '{0,0,0}', 3, 0, ${[bob]}::text[], now())`
  const first = await ask('GET', '/inference_verifications?limit=2')
  expect(first.body).toMatchObject({
    has_more: true,
    data: [{ worker: ann, q_ppm: 30_000, score: 0.125 }, { worker: bob }],
  })
  const hers = await ask('GET', `/inference_verifications?worker=${ann}&after=${first.body.data[0].id}`)
  expect(hers.body).toMatchObject({ has_more: false, data: [{ state: 'waived', waived: 'no_verifier' }] })
  const { data } = (await ask('GET', `/worker_reputation?worker=${ann}&limit=1`)).body
  expect(data).toMatchObject([{ duty: 'serve', phase: 'trusted', clean: 700, heights: [0, 0, 1_500_000] }])
  expect(data[0].weight).toBeCloseTo(0.985, 2)
  const next = (await ask('GET', `/worker_reputation?worker=${ann}&after=${encodeURIComponent(data[0].id)}`)).body.data
  expect(next).toMatchObject([{ duty: 'verify', phase: 'frozen', weight: 0, accusers: [bob] }])
})

test('invites and operators are listed, tokens are not', async () => {
  const { id } = await joinWorker('olga')
  const open = (await ask('POST', '/invites', { operator: 'olga' })).body
  const invites = (await ask('GET', '/invites?limit=500')).body.data.filter((row: { operator: string }) => {
    return row.operator === 'olga'
  })
  expect(invites).toMatchObject([
    { object: 'invite', state: 'used', created_by: 'owner.key', used_by: id, expires_in_ms: 3_600_000 },
    { id: open.id, state: 'open', used_by: null, used_at: null },
  ])
  expect(JSON.stringify(invites)).not.toContain('lichen1_')
  const operators = (await ask('GET', '/operators?limit=500')).body.data
  expect(operators.find((row: { name: string }) => row.name === 'olga')).toMatchObject({
    object: 'operator',
    workers: 1,
  })
  expect((await ask('GET', '/operators?limit=1')).body.data).toHaveLength(1)
})

test('names that could drive a terminal or look like others are refused everywhere', async () => {
  for (const name of ['a\u001b[2J', 'a\u009b', 'a\u202eb', 'a\nb']) {
    const { publicKey } = generateIdentity(systemRuntime)
    for (const [path, body, param] of [
      ['/keys', { name }, 'name'],
      ['/users', { name }, 'name'],
      ['/invites', { operator: name }, 'operator'],
      ['/admin-keys', { name, public_key: publicKey.toString('base64url') }, 'name'],
    ] as const) {
      expect(await ask('POST', path, body)).toMatchObject({ status: 400, body: { error: { param } } })
    }
  }
})

test('users, their keys with budgets, and admin keys have the form the API promises', async () => {
  const ada = (await ask('POST', '/users', { name: 'ada', role: 'auditor' })).body
  const limits = { budget_total: '10000000', budget_per_day: '0', tokens_per_minute: 500 }
  const made = (await ask('POST', '/keys', { name: 'x', user: 'ada', ...limits })).body
  expect(made).toMatchObject({ user: 'ada', user_id: ada.id, role: 'user', ...limits })
  const changed = (await ask('POST', `/keys/${made.id}`, { budget_total: null, role: 'auditor' })).body
  expect(changed).toMatchObject({ ...limits, budget_total: null, role: 'auditor' })
  for (const wrong of ['-1', '1.5', '007', '1e3', '9'.repeat(19), 10]) {
    expect((await ask('POST', `/keys/${made.id}`, { budget_total: wrong })).status).toBe(400)
  }
  expect((await ask('GET', '/keys?user=ada')).body.data).toHaveLength(1)
  expect((await ask('GET', '/users/ada', undefined, made.key)).body).toEqual(ada)
  const denied = await ask('POST', '/users/ada/disable', {}, made.key)
  expect(denied).toMatchObject({ status: 403, body: { error: { code: 'role_required' } } })
  expect((await ask('POST', '/users/ada/disable', {})).body.disabled_at).not.toBeNull()
  expect(await ask('GET', '/users', undefined, made.key)).toMatchObject({
    status: 403,
    body: { error: { code: 'user_disabled' } },
  })
  expect((await ask('POST', '/users/ada/enable', {})).body.disabled_at).toBeNull()
  expect((await ask('POST', '/users/ada/role', { role: 'user' })).body.role).toBe('user')
  const { id, publicKey } = generateIdentity(systemRuntime)
  const text = publicKey.toString('base64url')
  expect((await ask('POST', '/users/ada/payer-key', { payer_key: text })).body.payer_key).toBe(text)
  expect((await ask('POST', '/users/ada/payer-key', { payer_key: null })).body.payer_key).toBeNull()
  expect((await ask('POST', '/admin-keys', { name: 'ada', public_key: text })).body).toMatchObject({ id })
  expect((await ask('DELETE', `/admin-keys/${id}`)).body.revoked_at).not.toBeNull()
  expect((await ask('GET', '/admin-keys')).body.data).toMatchObject([{ id, public_key: text, added_by: 'owner.key' }])
})

test('what is offered and what was asked for is listed', async () => {
  const { key } = (await ask('POST', '/keys', { name: 'ada' })).body
  for (const _ of [1, 2, 3]) {
    const messages = [{ role: 'user', content: 'canary' }]
    await api.post('/v1/chat/completions', { model: 'toy', messages }, { authorization: `Bearer ${key}` })
  }
  const first = (await ask('GET', '/jobs?limit=2')).body
  expect(first).toMatchObject({ has_more: true, data: [{ object: 'job', kind: 'chat', model: 'toy' }, {}] })
  expect((await ask('GET', `/jobs?limit=2&after=${first.data[1].id}`)).body).toMatchObject({
    has_more: false,
    data: [{}],
  })
  const shown = (await ask('GET', `/jobs/${first.data[0].id}`)).body
  expect(shown).toMatchObject({ id: first.data[0].id, segments: [] })
  expect(JSON.stringify([first, shown])).not.toContain('canary')
  const models = (await ask('GET', '/models')).body
  expect(models.data.map((model: { id: string }) => model.id)).toEqual(['big', 'org/vectors', 'toy'])
})

test('what happened is listed, by type and from a time on, page by page', async () => {
  journal.add('worker_joined', 'a'.repeat(64), { operator: 'anna' })
  journal.add('worker_left', 'a'.repeat(64), { reason: 'closed' })
  await journal.flush()
  const all = await ask('GET', '/events')
  expect(all.body.data).toMatchObject([
    { type: 'worker_joined', subject: 'a'.repeat(64), details: { operator: 'anna' } },
    { type: 'worker_left', details: { reason: 'closed' } },
  ])
  expect((await ask('GET', '/events?limit=1')).body).toMatchObject({
    data: [{ type: 'worker_joined' }],
    has_more: true,
  })
  const rest = await ask('GET', `/events?after=${all.body.data[0].id}&since=2020-01-01T00:00:00Z`)
  expect(rest.body).toMatchObject({ data: [{ type: 'worker_left' }], has_more: false })
  expect((await ask('GET', '/events?type=worker_left,peer_handshake')).body.data).toHaveLength(1)
  expect((await ask('GET', '/events?type=rumour')).status).toBe(400)
  expect((await ask('GET', '/events?since=yesterday')).status).toBe(400)
})

test('the status says how the pool is, and what the owner should look at', async () => {
  await joinWorker('dora')
  const { key } = (await ask('POST', '/keys', { name: 'counted' })).body
  const before = (await ask('GET', '/status')).body.requests
  await fetch(`${api.url}/v1/models`, { headers: { authorization: `Bearer ${key}` } })
  await fetch(`${api.url}/v1/models`)
  const { body } = await ask('GET', '/status')
  expect(body).toMatchObject({
    object: 'status',
    pool: 'cd'.repeat(32),
    version: '0.1.0',
    ready: true,
    reason: null,
    database: { kind: 'embedded', answers: true },
    queue: { jobs: 1, waiting: 2, max: 1_024 },
    models: { toy: 1, big: 1, 'org/vectors': 1 },
  })
  expect(body.workers.pending).toBeGreaterThan(0)
  expect(body.requests).toEqual({ answered: before.answered + 1, refused: before.refused + 1, left: before.left })
  expect(body.warnings).toContain('Listening without TLS.')
  expect(body.warnings.join(' ')).toMatch(/wait for approval/)
})
