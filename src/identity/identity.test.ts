import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { generateIdentity } from '#crypto'
import { parseWorkerId, type WorkerId } from '#protocol'
import { type Runtime, systemRuntime } from '#runtime'
import { openDatabase } from '#storage'
import { type TestDatabase, testDatabase } from '#testkit'
import { type ApiKey, Identity, poolItself } from './index.ts'

let db: TestDatabase
let pool: Identity
let clockAheadMs = 0
const runtime: Runtime = { ...systemRuntime, now: () => Date.now() + clockAheadMs }

beforeAll(async () => {
  db = await testDatabase()
  pool = new Identity(db.database, runtime)
})
afterAll(async () => {
  pool[Symbol.dispose]()
  await db.drop()
})

function newWorker(): { publicKey: Buffer; id: WorkerId } {
  const { publicKey, id } = generateIdentity(systemRuntime)
  return { publicKey, id: parseWorkerId(id) as WorkerId }
}

async function joined(operator = 'alice'): Promise<{ publicKey: Buffer; id: WorkerId; token: Buffer }> {
  const { token } = await pool.invite({ operator, by: 'owner' })
  const worker = { ...newWorker(), token }
  await pool.admitWorker(worker)
  return worker
}

async function later(ms: number, work: () => Promise<void>): Promise<void> {
  clockAheadMs += ms
  try {
    await work()
  } finally {
    clockAheadMs -= ms
  }
}

const eventually = async (what: () => boolean | Promise<boolean>) => {
  for (let i = 0; i < 300 && !(await what()); i++) await systemRuntime.sleep(10)
  expect(await what()).toBe(true)
}
const day = 24 * 3_600_000

describe('API keys', () => {
  test('a new key is shown once, works at once and is stored as its hash only', async () => {
    const made = await pool.createApiKey(
      { name: 'laptop', models: ['demo'], requestsPerMinute: 60, weight: 2 },
      poolItself,
    )
    expect(made.key).toMatch(/^sk-lichen-[\w-]{43}$/)
    const expected: Partial<ApiKey> = { id: made.id, models: ['demo'], requestsPerMinute: 60, weight: 2 }
    expect(await pool.authenticate(made.key)).toMatchObject(expected)
    const rows = await db.sql`select row_to_json(k)::text as row from api_keys k`
    expect(JSON.stringify(rows)).not.toContain(made.key.slice(10))
    expect((await pool.listApiKeys()).map((key) => key.name)).toContain('laptop')
  })

  test('a key seen before is answered from memory, without waiting', async () => {
    const { key } = await pool.createApiKey({ name: 'hot' }, poolItself)
    await pool.authenticate(key)
    expect(pool.authenticate(key)).not.toBeInstanceOf(Promise)
  })

  test('a thousand unknown keys at once are refused, and cost the database two look-ups', async () => {
    const keys = Array.from({ length: 1_000 }, () => `sk-lichen-${systemRuntime.randomBytes(32).toString('base64url')}`)
    const answers = await Promise.all(keys.map((key) => pool.authenticate(key)))
    expect(new Set(answers.map((answer) => 'code' in answer && answer.code))).toEqual(new Set(['invalid_api_key']))
    expect(await pool.authenticate('sk-proj-of-another-house')).toMatchObject({ code: 'invalid_api_key' })
  })

  test('an expired key is told that it has expired', async () => {
    const { key } = await pool.createApiKey({ name: 'short', expiresAt: runtime.now() + 60_000 }, poolItself)
    expect(await pool.authenticate(key)).not.toHaveProperty('code')
    await later(60_001, async () => expect(await pool.authenticate(key)).toMatchObject({ code: 'expired_api_key' }))
  })

  test('a key revoked on one replica stops on another within a second', async () => {
    await using elsewhere = await openDatabase({ target: db.target, runtime })
    using replica = new Identity(elsewhere, runtime)
    const { id, key } = await pool.createApiKey({ name: 'lost' }, poolItself)
    for (const at of [pool, replica]) expect(await at.authenticate(key)).not.toHaveProperty('code')
    await pool.revokeApiKey(id, poolItself)
    expect(pool.authenticate(key)).toMatchObject({ code: 'revoked_api_key' })
    await eventually(() => 'code' in (replica.authenticate(key) as object))
    expect(replica.authenticate(key)).toMatchObject({ code: 'revoked_api_key' })
    await expect(pool.revokeApiKey('not-a-key', poolItself)).rejects.toMatchObject({ refusal: { code: 'not_found' } })
  })

  test('keys are listed page by page', async () => {
    const all = await pool.listApiKeys({ limit: 1_000 })
    const first = await pool.listApiKeys({ limit: 2 })
    const rest = await pool.listApiKeys({ after: first[1]?.id ?? '' })
    expect([...first, ...rest]).toEqual(all)
  })
})

describe('enrolment', () => {
  test('an invited worker joins as pending, is approved, and is known when it comes back', async () => {
    const { token } = await pool.invite({ operator: 'alice', expiresInMs: 7 * day, by: 'owner' })
    const worker = newWorker()
    const first = await pool.admitWorker({ ...worker, token })
    expect(first).toMatchObject({ ok: true, standing: 'pending', operator: 'alice' })
    await pool.approveWorker(worker.id, 'owner')
    const again = await pool.admitWorker(worker)
    expect(again).toMatchObject({ ok: true, standing: 'approved', operator: 'alice' })
    const { acts, ...shown } = await pool.showWorker(worker.id.slice(0, 12))
    expect(acts.map(({ act, by }) => [act, by])).toEqual([
      ['invited', 'owner'],
      ['joined', 'worker'],
      ['approved', 'owner'],
    ])
    expect(shown.expiresAt - shown.joinedAt).toBe(7 * day)
    expect(await pool.listWorkers()).toContainEqual(shown)
  })

  test('an invite lets one key in, which may show it again; another key is refused', async () => {
    const { token } = await pool.invite({ operator: 'alice', by: 'owner' })
    const [alice, mallory] = [newWorker(), newWorker()]
    expect(await pool.admitWorker({ ...alice, token })).toMatchObject({ ok: true })
    expect(await pool.admitWorker({ ...alice, token })).toMatchObject({ ok: true, standing: 'pending' })
    expect(await pool.admitWorker({ ...mallory, token })).toMatchObject({ refusal: { code: 'invite_used' } })
    expect(await pool.admitWorker(mallory)).toMatchObject({ refusal: { code: 'worker_unknown' } })
  })

  test('of twenty workers with the same invite at once exactly one gets in', async () => {
    const { token } = await pool.invite({ operator: 'alice', by: 'owner' })
    const verdicts = await Promise.all(Array.from({ length: 20 }, () => pool.admitWorker({ ...newWorker(), token })))
    expect(verdicts.filter((verdict) => verdict.ok)).toHaveLength(1)
    expect(verdicts.filter((verdict) => !verdict.ok && verdict.refusal.code === 'invite_used')).toHaveLength(19)
  })

  test('an invite nobody made is refused, one a day old too', async () => {
    const unknown = { ...newWorker(), token: systemRuntime.randomBytes(32) }
    expect(await pool.admitWorker(unknown)).toMatchObject({ refusal: { code: 'invite_invalid' } })
    const { token } = await pool.invite({ operator: 'alice', by: 'owner' })
    await later(day, async () => {
      const verdict = await pool.admitWorker({ ...newWorker(), token })
      expect(verdict).toMatchObject({ refusal: { code: 'invite_expired' } })
    })
  })

  test('an expired worker is refused until its key is renewed', async () => {
    const { token } = await pool.invite({ operator: 'alice', expiresInMs: 1_000, by: 'owner' })
    const worker = newWorker()
    await pool.admitWorker({ ...worker, token })
    await pool.approveWorker(worker.id, 'owner')
    await later(1_001, async () => {
      expect(await pool.admitWorker({ ...worker, token })).toMatchObject({ refusal: { code: 'worker_expired' } })
      await pool.renewWorker(worker.id, { expiresInMs: day }, 'owner')
      expect(await pool.admitWorker(worker)).toMatchObject({ ok: true, standing: 'approved' })
    })
  })

  test('a revoked worker is refused, cannot be approved, and a renewal brings it back', async () => {
    const worker = await joined()
    await pool.approveWorker(worker.id, 'owner')
    await pool.revokeWorker(worker.id, 'owner')
    await pool.revokeWorker(worker.id, 'owner')
    expect(await pool.admitWorker(worker)).toMatchObject({ refusal: { code: 'worker_revoked' } })
    await expect(pool.approveWorker(worker.id, 'owner')).rejects.toMatchObject({ refusal: { code: 'conflict' } })
    await pool.renewWorker(worker.id, {}, 'bob')
    expect(await pool.admitWorker(worker)).toMatchObject({ ok: true, standing: 'approved' })
    const { acts } = await pool.showWorker(worker.id)
    expect(acts.map(({ act }) => act)).toEqual(['invited', 'joined', 'approved', 'revoked', 'renewed'])
    expect(acts.at(-1)).toMatchObject({ by: 'bob' })
  })

  test('a worker in use hears of its revocation, whichever replica revoked it', async () => {
    await using elsewhere = await openDatabase({ target: db.target, runtime })
    using replica = new Identity(elsewhere, runtime)
    const heard: string[] = []
    replica.onWorkerKeyChange(({ id, standing }) => heard.push(`${id} ${standing}`))
    const worker = await joined()
    await pool.approveWorker(worker.id, 'owner')
    await eventually(() => heard.includes(`${worker.id} approved`))
    await pool.revokeWorker(worker.id, 'owner')
    await eventually(() => heard.includes(`${worker.id} revoked`))
  })

  test('what was done to a key can be added to, never changed', async () => {
    await joined()
    await expect(db.sql`update worker_key_acts set by_whom = 'nobody'`).rejects.toThrow('append-only')
    await expect(db.sql`delete from worker_key_acts`).rejects.toThrow('append-only')
    await expect(db.sql`truncate worker_key_acts`).rejects.toThrow('append-only')
  })

  test('a worker nobody knows, or a name two share, is not acted on', async () => {
    await expect(pool.revokeWorker('ffffff', 'owner')).rejects.toMatchObject({ refusal: { code: 'not_found' } })
    await expect(pool.revokeWorker("x' or 1=1", 'owner')).rejects.toMatchObject({ refusal: { code: 'not_found' } })
    await expect(pool.invite({ operator: ' ', by: 'owner' })).rejects.toMatchObject({ code: 'invalid_request' })
    await expect(pool.invite({ operator: 'a', expiresInMs: 5, by: 'o' })).rejects.toMatchObject({
      code: 'invalid_request',
    })
  })
})
