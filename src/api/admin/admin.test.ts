import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { z } from 'zod'
import { generateIdentity } from '#crypto'
import { Identity, parseInvite } from '#identity'
import type { WorkerId } from '#protocol'
import { systemRuntime } from '#runtime'
import { Workers } from '#workers'
import { ApiDouble, toyDigest } from '../../testkit/api-double.ts'
import { RawWorker } from '../../testkit/raw-worker.ts'
import { sessionPair } from '../../testkit/session-pair.ts'
import { type TestDatabase, testDatabase } from '../../testkit/test-database.ts'
import { adminRoutes } from './admin-routes.ts'

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
    admin: {
      identity,
      workers,
      inviteUrl: () => 'https://pool.example',
      database: 'embedded',
      queueMax: 1_024,
      warnings: () => ['Listening without TLS.'],
    },
  })
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  workers.close()
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
  const deps = { admin: { identity, workers }, runtime: systemRuntime, jobs: api.jobs, models: api.models }
  const routes = adminRoutes(
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

describe('who may come', () => {
  test.each([
    ['missing_api_key', 401, {}],
    ['admin_only', 403, { authorization: 'Bearer sk-lichen-something' }],
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

  test('an API key opens no door of the owner, and the owner’s key answers no chat', async () => {
    const { body } = await ask('POST', '/keys', { name: 'ada' })
    expect((await ask('GET', '/status', undefined, body.key)).status).toBe(403)
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
      'invited owner',
      'joined worker',
      'approved owner',
      'renewed owner',
      'revoked owner',
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

test('the status says how the pool is, and what the owner should look at', async () => {
  await joinWorker('dora')
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
  expect(body.requests.answered).toBeGreaterThan(0)
  expect(body.requests.refused).toBeGreaterThan(0)
  expect(body.warnings).toContain('Listening without TLS.')
  expect(body.warnings.join(' ')).toMatch(/wait for approval/)
})
