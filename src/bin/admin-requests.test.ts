import { randomBytes } from 'node:crypto'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { identityFromSeed } from '#crypto'
import {
  type AdminAction,
  type AdminSignature,
  adminDecisionBytes,
  adminRequestBytes,
  federationLimits,
  PeerAdminKeys,
  requestMoves,
} from '#federation'
import { Identity, poolItself } from '#identity'
import { systemRuntime } from '#runtime'
import { openDatabase } from '#storage'
import { AskingPool } from '../testkit/asking-pool.ts'
import { loopbackHosts } from '../testkit/federated-pool.ts'
import { ForeignPool } from '../testkit/foreign-pool.ts'

/** Anna's pool is asked; Bela's speaks version 2, foreign ones version 1. */
let anna: AskingPool
let bela: AskingPool
const v1Writers: string[] = []
const strangers: ForeignPool[] = []
const admin = identityFromSeed(randomBytes(32))
const second = identityFromSeed(randomBytes(32))
const belasAdmin = identityFromSeed(randomBytes(32))

beforeAll(async () => {
  ;[anna, bela] = await Promise.all([AskingPool.open('anna', { v1Writers }), AskingPool.open('bela')])
  using identity = new Identity(anna.pool.db.database, systemRuntime)
  await identity.addAdminKey({ name: 'ada', publicKey: admin.publicKey }, poolItself)
  await identity.addAdminKey({ name: 'eve', publicKey: second.publicKey }, poolItself)
  using his = new Identity(bela.pool.db.database, systemRuntime)
  await his.addAdminKey({ name: 'bob', publicKey: belasAdmin.publicKey }, poolItself)
  for (const [here, there] of [
    [anna, bela],
    [bela, anna],
  ] as const) {
    await here.pool.federation.office.add(there.pool.url, undefined)
    await here.pool.knowsAdminOf(there.pool)
    await here.bond(there.pool.id)
  }
})
afterEach(() => {
  anna.ahead = 0
  bela.ahead = 0
  Object.assign(anna.lets, { read: true, write: true })
})
afterAll(async () => {
  for (const one of strangers) await one[Symbol.asyncDispose]()
  await Promise.all([anna, bela].map((pool) => pool[Symbol.asyncDispose]()))
})

const requestPath = '/v1/federation/admin/request'
const callbackPath = '/v1/federation/admin/callback'
const freshId = () => `fadm_${randomBytes(8).toString('hex')}`

/** A version 1 pool that listens, is known to Anna, and stands at this level of trust. */
async function foreign(trust = 3): Promise<ForeignPool> {
  const pool = await new ForeignPool(randomBytes(32)).listen()
  strangers.push(pool)
  loopbackHosts.push(new URL(pool.url).host)
  pool.answers.set(callbackPath, (body) => ({ ok: true, request_id: body.request_id }))
  await anna.pool.federation.office.add(pool.url, undefined)
  if (trust > 1) await anna.bond(pool.id, trust)
  return pool
}

const bodyOf = (pool: { id: string }, more: object = {}) => ({
  request_id: freshId(),
  origin_pool_id: pool.id,
  action_type: 'query_events',
  action_params: { limit: 100 },
  from_admin_email: 'someone@example.org',
  ...more,
})
const ask = (pool: ForeignPool, more: object = {}) =>
  pool.send(anna.pool.url, { path: requestPath, body: bodyOf(pool, more) })

/** The id of a request that waits at Anna's. */
async function pending(pool: ForeignPool, action: AdminAction = 'query_events'): Promise<string> {
  if (action === 'circuit_reset' && !v1Writers.includes(pool.id)) v1Writers.push(pool.id)
  const answer = await ask(pool, { action_type: action, action_params: {} })
  expect(answer).toMatchObject({ status: 200, body: { ok: true, status: 'pending' } })
  return String(answer.body.request_id)
}

const seconds = (pool: AskingPool) => Math.floor(pool.now() / 1_000)

/** Ada's word on a WRITE, as `lichen fed decide` signs it. */
async function signed(
  id: string,
  decision: { approve: boolean; override?: ('slashing' | 'reciprocal')[] },
  by = admin,
): Promise<AdminSignature> {
  const { peerId, action, params } = await anna.requests.show(id, 'in')
  const at = seconds(anna)
  const facts = { origin: peerId, target: anna.pool.id, requestId: id, action, params }
  const bytes = adminDecisionBytes(facts, { override: [], ...decision }, at)
  return { key_id: by.id, signed_at: at, signature: by.sign(bytes).toString('base64') }
}

async function decide(id: string, approve = true, override: ('slashing' | 'reciprocal')[] = []) {
  const write = (await anna.requests.show(id, 'in')).action === 'circuit_reset'
  const signatures = write ? [await signed(id, { approve, override })] : []
  return (await anna.requests.decide(id, { approve, override, signatures, by: 'owner.key' })).row
}

test('a pool of the live network asks for events, a human approves, and it is called back what it may see', async () => {
  const pool = await foreign()
  const other = await foreign()
  const worker = 'ab'.repeat(32)
  anna.journal.add('worker_joined', worker, { operator: 'ops@example.org', standing: 'approved' })
  anna.journal.add('worker_left', worker, { operator: 'ops@example.org', reason: 'mail ops@example.org' })
  anna.journal.add('circuit_opened', worker, { why: 'timeout', pause_ms: 10_000 })
  anna.journal.add('peer_handshake', pool.id, { version: 1 })
  anna.journal.add('peer_handshake', other.id, { version: 1 })
  const asked = await ask(pool)
  expect(asked.body).toMatchObject({ ok: true, status: 'pending' })
  const id = String(asked.body.request_id)
  expect(pool.received.filter(({ path }) => path === callbackPath)).toEqual([])
  expect(await decide(id)).toMatchObject({ state: 'executed', decidedBy: 'owner.key', result: null })
  const [called] = pool.received.filter(({ path }) => path === callbackPath)
  expect(called?.body).toMatchObject({ request_id: id, atom_id: anna.pool.id, status: 'executed', error: null })
  const { events } = (called?.body.result ?? {}) as { events: { type: string; subject: string; details: object }[] }
  expect(events.map(({ type, subject, details }) => ({ type, subject, details }))).toEqual([
    { type: 'peer_handshake', subject: pool.id, details: { version: 1 } },
    { type: 'circuit_opened', subject: worker, details: { why: 'timeout', pause_ms: 10_000 } },
    { type: 'worker_left', subject: worker, details: {} },
    { type: 'worker_joined', subject: worker, details: { standing: 'approved' } },
  ])
  expect(JSON.stringify(called?.body)).not.toMatch(new RegExp(`${other.id}|@|ops`))
})

test('how many events others have does not change what a pool sees', async () => {
  const [pool, other] = [await foreign(), await foreign()]
  anna.journal.add('peer_handshake', pool.id, { version: 1 })
  for (let n = 0; n < 20; n++) anna.journal.add('peer_handshake', other.id, { version: 1 })
  const { body } = await ask(pool, { action_params: { limit: 1, types: ['peer_handshake'] } })
  await decide(String(body.request_id))
  const result = (pool.received.at(-1)?.body.result ?? {}) as { events: { subject: string }[] }
  expect(result.events.map(({ subject }) => subject)).toEqual([pool.id])
})

test('Anna asks a pool of the live network, and what it calls back is kept, once', async () => {
  const pool = await foreign()
  pool.answers.set(requestPath, (body) => ({ ok: true, request_id: body.request_id, status: 'pending' }))
  const wish = {
    action: 'query_events',
    params: { limit: 5 },
    email: null,
    requestId: undefined,
    signatures: [],
  } as const
  const sent = await anna.requests.ask({ ...wish, peer: pool.id.slice(0, 12), by: 'owner.key' })
  expect(sent.state).toBe('pending')
  expect(pool.received.at(-1)?.body).toMatchObject({
    request_id: sent.requestId,
    origin_pool_id: anna.pool.id,
    action_type: 'query_events',
  })
  const say = (body: object, by = pool) =>
    by.send(anna.pool.url, { path: callbackPath, body: { request_id: sent.requestId, ...body } })
  const events = [{ type: 'worker_left', subject: 'w', at: 1, details: {} }]
  expect((await say({ status: 'executed' }, await foreign())).status).toBe(404)
  expect((await say({ status: 'approved' })).status).toBe(400)
  expect((await say({ status: 'executed', result: { events } })).status).toBe(200)
  // replayed, it is what it was; flipped, it is refused, and nothing has changed
  expect((await say({ status: 'executed', result: { events: [] } })).status).toBe(200)
  expect(await say({ status: 'rejected' })).toMatchObject({ status: 409 })
  expect(await anna.requests.show(sent.requestId)).toMatchObject({ state: 'executed', result: { events } })
})

interface Letter {
  readonly headers: Record<string, string>
  readonly text: string
}

/** Somebody on the road who writes down what passes, and delivers nothing. */
async function onTheRoad(): Promise<{ url: string; letters: Letter[] } & AsyncDisposable> {
  const letters: Letter[] = []
  const server = http.createServer((request, response) => {
    let text = ''
    request.on('data', (part) => {
      text += part
    })
    request.on('end', () => {
      const own = Object.entries(request.headers).filter(([name]) => /^x-iamine-|^content-type$/.test(name))
      letters.push({ headers: Object.fromEntries(own) as Record<string, string>, text })
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  loopbackHosts.push(new URL(url).host)
  return { url, letters, [Symbol.asyncDispose]: async () => void server.close() }
}

const writers = { 'a pool of the live network': 1, 'a pool of version 2': 2 } as const
const flipped = { executed: 'rejected', rejected: 'executed' } as const

test.each(
  Object.entries(writers).flatMap(([who, version]) =>
    (['executed', 'rejected'] as const).map((said) => [who, said, version] as const),
  ),
)(
  'what %s called back (%s) cannot be flipped: not on the road, not by replaying it, not by itself',
  async (_who, said, version) => {
    await using road = await onTheRoad()
    const pool = version === 1 ? await foreign() : undefined
    const peer = pool?.id ?? bela.pool.id
    const now = new Date()
    const open = async () => {
      const id = freshId()
      await anna.pool.db.sql`
      insert into admin_requests (direction, request_id, peer_id, action, params, state, created_at, expires_at)
      values ('out', ${id}, ${peer}, 'query_events', '{}', 'pending', ${now}, ${new Date(now.getTime() + 3_600_000)})`
      return id
    }
    const [id, other] = [await open(), await open()]
    /** As the pool that was asked signs it; at `url`. */
    const sends = async (url: string, body: object): Promise<number> => {
      if (pool) return (await pool.send(url, { path: callbackPath, body })).status
      const called = await bela.pool.federation.outbound.call(
        { ...anna.pool.as(2), url },
        { method: 'POST', target: callbackPath, body },
      )
      return called.ok ? 200 : (called.status ?? 0)
    }
    const wrote = async (status: string) => {
      await sends(road.url, { request_id: id, status })
      return road.letters.at(-1) as Letter
    }
    const deliver = async ({ headers, text }: Letter) => {
      const answer = await fetch(anna.pool.url + callbackPath, { method: 'POST', headers, body: text })
      return { status: answer.status, error: ((await answer.json()) as { error?: string }).error }
    }
    const stands = async (state: string) => expect(await anna.requests.show(id, 'out')).toMatchObject({ state })
    const flip = (letter: Letter): Letter => ({ ...letter, text: letter.text.replace(said, flipped[said]) })
    const again = (letter: Letter): Letter => ({
      ...letter,
      headers: { ...letter.headers, 'x-iamine-nonce': randomBytes(8).toString('hex') },
    })
    const forged = { status: 401, error: 'signature: bad_signature' }
    const letter = await wrote(said)
    expect(flip(letter).text).not.toBe(letter.text)

    // it has not arrived yet, and whoever carries it would rather have another word
    expect(await deliver(flip(letter))).toEqual(forged)
    expect(await deliver(flip(again(letter)))).toEqual(forged)
    expect(await deliver({ ...letter, text: letter.text.replace(id, other) })).toEqual(forged)
    await stands('pending')
    // it arrives; then it comes again, as it was and flipped, with its old signature under its old and a new nonce
    expect((await deliver(letter)).status).toBe(200)
    expect(await deliver(letter)).toEqual({ status: 401, error: 'signature: replayed' })
    expect(await deliver(again(letter))).toEqual(forged)
    expect(await deliver(flip(letter))).toEqual(forged)
    expect(await deliver(flip(again(letter)))).toEqual(forged)
    await stands(said)
    // the pool itself thinks better of it, with a good signature over a new nonce
    expect(await sends(anna.pool.url, { request_id: id, status: flipped[said] })).toBe(409)
    expect(await sends(anna.pool.url, { request_id: id, status: 'failed', error: 'no' })).toBe(409)
    expect(await deliver(await wrote(flipped[said]))).toEqual({
      status: 409,
      error: `the request is ${said} and stays so`,
    })
    await stands(said)
    expect(await anna.requests.show(other, 'out')).toMatchObject({ state: 'pending' })
  },
)

test('a pool that refuses at once has refused: the request has failed, and says why', async () => {
  const pool = await foreign()
  const wish = { action: 'query_events', params: {}, email: null, requestId: undefined, signatures: [] } as const
  const sent = await anna.requests.ask({ ...wish, peer: pool.id, by: 'owner.key' })
  expect(sent).toMatchObject({ state: 'failed', error: '404: not here' })
})

test('the refusals come in their order', async () => {
  const [bonded, known] = [await foreign(), await foreign(2)]
  const send = (body: unknown, headers: Record<string, string> = {}, by = bonded) =>
    by.send(anna.pool.url, { path: requestPath, body, headers })
  const forged = { 'X-IAMINE-Signature': Buffer.alloc(64).toString('base64') }
  // each is wrong in all that comes later, too
  anna.pool.kill()
  expect((await send({ nothing: 1 }, forged, known)).status).toBe(503)
  anna.pool.kill(false)
  anna.lets.read = false
  anna.lets.write = false
  expect((await send({ nothing: 1 }, forged, known)).status).toBe(400)
  expect((await send(bodyOf(known, { action_type: 'delete_everything' }), forged, known)).status).toBe(400)
  expect((await send(bodyOf(known, { action_params: { limit: 501 } }), forged, known)).status).toBe(400)
  expect(await send(bodyOf(known), forged, known)).toEqual({ status: 403, body: { error: 'disabled', toggle: 'read' } })
  expect((await send(bodyOf(known, { action_type: 'circuit_reset' }), forged, known)).body).toMatchObject({
    toggle: 'write',
  })
  anna.lets.read = true
  expect(await send(bodyOf(known), forged, known)).toEqual({ status: 403, body: { error: 'not bonded here' } })
  expect(await send(bodyOf(bonded), forged)).toEqual({ status: 401, body: { error: 'signature: bad_signature' } })
  const taken = await pending(bonded)
  for (let n = 1; n < federationLimits.pendingRequestsMax; n++) await pending(bonded)
  expect(await send(bodyOf(bonded, { request_id: taken }))).toMatchObject({
    status: 429,
    body: { error: '10 requests of this pool are pending' },
  })
  await decide(taken, false)
  expect(await send(bodyOf(bonded, { request_id: taken }))).toEqual({
    status: 409,
    body: { error: 'duplicate request_id' },
  })
})

test('bodies that are built to hurt are malformed before a key is looked at', async () => {
  const pool = await foreign()
  const raw = (text: string) =>
    fetch(anna.pool.url + requestPath, {
      method: 'POST',
      body: text,
      headers: { 'content-type': 'application/json', 'x-iamine-atom-id': pool.id },
    })
  const whole = JSON.stringify(bodyOf(pool))
  const bombs = [
    '['.repeat(10_000),
    `{"a":${'{"a":'.repeat(2_000)}1${'}'.repeat(2_001)}`,
    whole.replace('"action_type"', '"action_type":"circuit_reset","action_type"'),
    whole.replace('"limit":100', `"limit":100,"x":"${'y'.repeat(federationLimits.adminBodyBytesMax)}"`),
    whole.replace('"limit":100', '"__proto__":{"limit":1},"limit":1e400'),
    whole.replace('{"limit":100}', JSON.stringify(Array(1_000).fill({}))),
  ]
  for (const bomb of bombs) expect((await raw(bomb)).status, bomb.slice(0, 80)).toBe(400)
})

test('five who approve at once, at two processes of the pool, execute once', async () => {
  const pool = await foreign()
  const id = await pending(pool)
  await using database = await openDatabase({ target: anna.pool.db.target, runtime: systemRuntime })
  await using twin = anna.boxes(database)
  const approve = { approve: true, override: [], signatures: [], by: 'owner.key' }
  const boxes = [anna.requests, twin, anna.requests, twin, anna.requests]
  const all = await Promise.allSettled(boxes.map((one) => one.decide(id, approve)))
  expect(all.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  const refused = all.flatMap((one) => (one.status === 'rejected' ? [one.reason.refusal.code] : []))
  expect(refused).toEqual(Array(4).fill('conflict'))
  // whichever of the two is first calls back
  await expect.poll(() => anna.requests.show(id), { timeout: 20_000 }).toMatchObject({ state: 'executed' })
  expect(pool.received.filter(({ path }) => path === callbackPath)).toHaveLength(1)
  expect(await anna.pool.db.sql`select 1 from acts where subject = ${`request:${id}`}`).toHaveLength(1)
})

test('a request can be approved until its last second, and never after', async () => {
  const pool = await foreign()
  const [early, late] = [await pending(pool), await pending(pool)]
  const until = (await anna.requests.show(late)).expiresAt
  anna.ahead = until - systemRuntime.now() - 2_000
  expect((await decide(early)).state).toBe('executed')
  anna.ahead = until - systemRuntime.now()
  await expect(decide(late)).rejects.toMatchObject({ refusal: { code: 'conflict' } })
  expect((await anna.requests.show(late)).state).toBe('expired')
  await expect(decide(late, false)).rejects.toMatchObject({ refusal: { code: 'conflict' } })
})

test('a reset clears circuits and routing, and nothing that was found out about anybody', async () => {
  const pool = await foreign()
  const [open, frozen] = ['c1'.repeat(32), 'd2'.repeat(32)]
  const { sql } = anna.pool.db
  for (let n = 0; n < 40; n++) anna.breakers.ended(open, 'error')
  await anna.breakers.settled()
  expect(anna.breakers.circuitOf(open)).toBe('open')
  await sql`
    insert into standings (worker_id, model, duty, phase, clean, heights, posterior_clean, posterior_hits, accusers, changed_at)
    values (${frozen}, 'm', 'serve', 'frozen', 7, '{1,2,3}', 4, 5, '{v}', now())`
  const id = await pending(pool, 'circuit_reset')
  expect((await decide(id)).state).toBe('executed')
  expect(pool.received.at(-1)?.body.result).toEqual({ cleared: { circuits: 1, posteriors: 1 } })
  await expect.poll(() => anna.breakers.circuitOf(open), { timeout: 20_000 }).toBe('closed')
  const [standing] =
    await sql`select phase, clean, heights, posterior_clean, posterior_hits, accusers from standings where worker_id = ${frozen}`
  expect(standing).toEqual({
    phase: 'frozen',
    clean: 7,
    heights: [1n, 2n, 3n],
    posterior_clean: 0,
    posterior_hits: 0,
    accusers: ['v'],
  })
})

test('the next reset for a pool may come six hours after the last was approved, not a second before', async () => {
  const pool = await foreign()
  const [first, waiting] = [await pending(pool, 'circuit_reset'), await pending(pool, 'circuit_reset')]
  const { decidedAt } = await decide(first)
  // it stood in line before the first was approved; the facts are read again
  await expect(decide(waiting)).rejects.toThrow('six hours')
  const again = () => ask(pool, { action_type: 'circuit_reset', action_params: {} })
  anna.ahead = (decidedAt ?? 0) + federationLimits.resetCooldownMs - systemRuntime.now() - 60_000
  expect(await again()).toMatchObject({ status: 429, body: { error: 'cooldown' } })
  await expect(decide(waiting)).rejects.toThrow('six hours')
  anna.ahead += 60_000
  expect((await again()).status).toBe(200)
  expect((await decide(waiting)).state).toBe('executed')
})

/** What a decision about a worker writes. */
async function convict(sql: AskingPool['pool']['db']['sql'], worker: string): Promise<void> {
  await sql`
    insert into standings (worker_id, model, duty, phase, clean, heights, posterior_clean, posterior_hits, accusers, changed_at)
    values (${worker}, 'm', 'serve', 'convicted', 0, '{0}', 0, 0, '{}', now())`
  await sql`
    insert into standing_acts (id, worker_id, model, duty, act, because, decided_at, step)
    values (gen_random_uuid(), ${worker}, 'm', 'serve', 'slash', 'a check', now(), 0)`
}

test('while a worker is being slashed no reset is approved, unless a human means it: that is kept whole for ever', async () => {
  const pool = await foreign()
  const id = await pending(pool, 'circuit_reset')
  const worker = 'e3'.repeat(32)
  const { sql } = anna.pool.db
  await convict(sql, worker)
  await expect(decide(id)).rejects.toMatchObject({ refusal: { code: 'slashing_pending' } })
  await expect(decide(id)).rejects.toThrow(`slash of ${worker.slice(0, 12)} with m`)
  expect((await anna.requests.show(id)).state).toBe('pending')
  const { guard } = await decide(id, true, ['slashing'])
  expect(guard).toMatchObject({
    overridden: ['slashing'],
    slashing: [{ what: 'slash', worker, model: 'm' }],
    by: 'owner.key',
  })
  const [act] = await sql`select details from acts where subject = ${`request:${id}`} and action = 'federation.approve'`
  expect(act?.details).toMatchObject({ overridden: ['slashing'], slashing: 1, admins: [admin.id] })
  await expect(sql`update admin_requests set guard = '{}' where request_id = ${id}`).rejects.toThrow('stays')
  await expect(sql`delete from admin_requests where request_id = ${id}`).rejects.toThrow('stays')
  await sql`update standing_acts set done_at = now()`
})

test('a slashing event that is written while somebody approves is seen', async () => {
  const pool = await foreign()
  const id = await pending(pool, 'circuit_reset')
  await using other = await openDatabase({ target: anna.pool.db.target, runtime: systemRuntime })
  const convicting = Promise.withResolvers<void>()
  const goOn = Promise.withResolvers<void>()
  const conviction = other.transaction(async (tx) => {
    await convict(tx, 'f4'.repeat(32))
    convicting.resolve()
    await goOn.promise
  })
  await convicting.promise
  const approval = decide(id)
  approval.catch(() => {})
  await expect
    .poll(() => anna.pool.db.sql`select 1 from pg_locks where not granted and mode = 'ShareRowExclusiveLock'`, {
      timeout: 20_000,
    })
    .toHaveLength(1)
  goOn.resolve()
  await conviction
  await expect(approval).rejects.toMatchObject({ refusal: { code: 'slashing_pending' } })
  await anna.pool.db.sql`update standing_acts set done_at = now()`
})

test('two pools that reset each other are asked whether they mean it', async () => {
  const pool = await foreign()
  const now = new Date()
  await anna.pool.db.sql`
    insert into admin_requests (direction, request_id, peer_id, action, params, state, created_at, expires_at, ended_at)
    values ('out', ${freshId()}, ${pool.id}, 'circuit_reset', '{}', 'executed', ${now}, ${now}, ${now})`
  const id = await pending(pool, 'circuit_reset')
  await expect(decide(id)).rejects.toMatchObject({ refusal: { code: 'reciprocal' } })
  expect((await decide(id, true, ['reciprocal'])).guard).toMatchObject({ overridden: ['reciprocal'] })
})

test('a callback that does not land is tried until it does', async () => {
  const pool = await foreign()
  const id = await pending(pool)
  await anna.pool.db.sql`update peers set url = 'http://127.0.0.1:1/' where id = ${pool.id}`
  await expect
    .poll(() => anna.pool.federation.peers.get(pool.id as never)?.url, { timeout: 20_000 })
    .toBe('http://127.0.0.1:1/')
  expect((await decide(id)).state).toBe('executed_no_callback')
  await anna.pool.db.sql`update peers set url = ${pool.url} where id = ${pool.id}`
  await expect.poll(() => anna.pool.federation.peers.get(pool.id as never)?.url, { timeout: 20_000 }).toBe(pool.url)
  anna.ahead = federationLimits.callbackPauseMsMin * 4
  await expect
    .poll(() => anna.requests.sweep().then(() => anna.requests.show(id)), { timeout: 20_000 })
    .toMatchObject({
      state: 'executed',
      callbackDueAt: null,
      result: null,
    })
})

test('in version 1 nobody writes whom the operator did not name', async () => {
  const pool = await foreign()
  const wish = { action_type: 'circuit_reset', action_params: {} }
  expect(await ask(pool, wish)).toEqual({ status: 401, body: { error: 'signature: v1_write_not_allowed' } })
  const admins = [
    { key_id: admin.id, signed_at: seconds(anna), signature: admin.sign(randomBytes(9)).toString('base64') },
  ]
  expect((await ask(pool, { ...wish, admin_signatures: admins })).status).toBe(401)
})

/** Bela asks Anna for a reset, signed by somebody. */
async function belaAsks(signer = belasAdmin, facts: { target?: string; requestId?: string } = {}) {
  const requestId = freshId()
  const signedAt = seconds(bela)
  const all = {
    origin: bela.pool.id,
    target: anna.pool.id,
    requestId,
    action: 'circuit_reset',
    params: {},
    ...facts,
  } as const
  const signature = signer.sign(adminRequestBytes(all, signedAt)).toString('base64')
  const body = {
    request_id: requestId,
    origin_pool_id: bela.pool.id,
    action_type: 'circuit_reset',
    action_params: {},
    admin_signatures: [{ key_id: signer.id, signed_at: signedAt, signature }],
  }
  const { outbound } = bela.pool.federation
  return outbound.call(anna.pool.as(2), { method: 'POST', target: requestPath, body })
}

test('a WRITE counts with the signature of an admin whom a human registered for that pool, over this very request', async () => {
  const keys = new PeerAdminKeys(anna.pool.db.database, systemRuntime)
  const refused = { ok: false, status: 401, message: 'signature: admin_signature_required' }
  expect(await belaAsks()).toMatchObject(refused)
  await expect(
    keys.add(bela.pool.id, { name: 'pool', publicKey: bela.pool.identity.publicKey }, 'owner.key'),
  ).rejects.toThrow('pool itself')
  const added = await keys.add(bela.pool.id.slice(0, 8), { name: 'bob', publicKey: belasAdmin.publicKey }, 'owner.key')
  expect(await belaAsks(admin)).toMatchObject(refused)
  expect(await belaAsks(belasAdmin, { target: bela.pool.id })).toMatchObject(refused)
  expect(await belaAsks(belasAdmin, { requestId: freshId() })).toMatchObject(refused)
  expect(await belaAsks()).toMatchObject({ ok: true, signed: true, body: { status: 'pending' } })
  await keys.revoke(bela.pool.id, added.id, 'owner.key')
  expect(await belaAsks()).toMatchObject(refused)
})

test('two pools of our own ask, sign, decide and call back', async () => {
  await new PeerAdminKeys(bela.pool.db.database, systemRuntime).add(
    anna.pool.id,
    { name: 'ada', publicKey: admin.publicKey },
    'owner.key',
  )
  const requestId = freshId()
  const facts = { origin: anna.pool.id, target: bela.pool.id, requestId, action: 'circuit_reset', params: {} } as const
  const at = seconds(anna)
  const wish = { ...facts, peer: bela.pool.id, email: null, by: 'owner.key' }
  await expect(anna.requests.ask({ ...wish, signatures: [] })).rejects.toMatchObject({
    refusal: { code: 'admin_signature_required' },
  })
  const mine = {
    key_id: admin.id,
    signed_at: at,
    signature: admin.sign(adminRequestBytes(facts, at)).toString('base64'),
  }
  expect(await anna.requests.ask({ ...wish, signatures: [mine] })).toMatchObject({ state: 'pending' })
  const decision = { approve: true, override: [] }
  const his = {
    key_id: belasAdmin.id,
    signed_at: at,
    signature: belasAdmin.sign(adminDecisionBytes(facts, decision, at)).toString('base64'),
  }
  const decided = await bela.requests.decide(requestId, { ...decision, signatures: [his], by: 'owner.key' })
  expect(decided.row).toMatchObject({ state: 'executed', envelope: 2 })
  expect(await anna.requests.show(requestId)).toMatchObject({
    state: 'executed',
    result: { cleared: { circuits: 0, posteriors: 0 } },
  })
})

test('a WRITE is decided by an admin’s own signature over this decision', async () => {
  const pool = await foreign()
  const id = await pending(pool, 'circuit_reset')
  const as = (signatures: AdminSignature[], approve = true) =>
    anna.requests.decide(id, { approve, override: [], signatures, by: 'owner.key' })
  const code = { refusal: { code: 'admin_signature_required' } }
  await expect(as([])).rejects.toMatchObject(code)
  await expect(as([await signed(id, { approve: false })])).rejects.toMatchObject(code)
  await expect(as([await signed(id, { approve: true, override: ['slashing'] })])).rejects.toMatchObject(code)
  await expect(as([await signed(id, { approve: true }, belasAdmin)])).rejects.toMatchObject(code)
  const old = await signed(id, { approve: true })
  anna.ahead = federationLimits.adminSignatureAgeMs + 2_000
  await expect(as([old])).rejects.toMatchObject(code)
  anna.ahead = 0
  expect((await as([await signed(id, { approve: false })], false)).row.state).toBe('rejected')
  expect(pool.received.at(-1)?.body).toMatchObject({ request_id: id, status: 'rejected' })
})

test('where two admins must sign, one does not do, and twice the same one neither', async () => {
  await using cleo = await AskingPool.open('cleo', { quorum: 2, v1Writers })
  using identity = new Identity(cleo.pool.db.database, systemRuntime)
  await identity.addAdminKey({ name: 'ada', publicKey: admin.publicKey }, poolItself)
  const pool = new ForeignPool(randomBytes(32))
  v1Writers.push(pool.id)
  await pool.send(cleo.pool.url, { path: '/v1/federation/handshake', body: pool.introduction() })
  await cleo.bond(pool.id)
  const requestId = freshId()
  const body = bodyOf(pool, { request_id: requestId, action_type: 'circuit_reset', action_params: {} })
  const send = () => pool.send(cleo.pool.url, { path: requestPath, body })
  // with one admin key nobody could approve it
  expect((await send()).body).toEqual({ error: 'disabled', toggle: 'write' })
  await identity.addAdminKey({ name: 'eve', publicKey: second.publicKey }, poolItself)
  expect((await send()).status).toBe(200)
  const facts = { origin: pool.id, target: cleo.pool.id, requestId, action: 'circuit_reset', params: {} } as const
  const decision = { approve: true, override: [] }
  const approve = (by: typeof admin) => {
    const at = seconds(cleo)
    const signature = by.sign(adminDecisionBytes(facts, decision, at)).toString('base64')
    return cleo.requests.decide(requestId, {
      ...decision,
      signatures: [{ key_id: by.id, signed_at: at, signature }],
      by: 'owner.key',
    })
  }
  expect((await approve(admin)).waiting).toEqual({ have: 1, need: 2 })
  expect((await approve(admin)).waiting).toEqual({ have: 1, need: 2 })
  const decided = await approve(second)
  expect(decided.waiting).toBeUndefined()
  expect(decided.row.decisionSignatures.map(({ key_id }) => key_id)).toEqual([admin.id, second.id])
})

test('nobody raises their own standing on the way, and who lost it is not heard', async () => {
  const pool = await foreign(2)
  expect((await ask(pool, { trust: 3, peer_trust_level: 4 })).status).toBe(403)
  await anna.bond(pool.id)
  const id = await pending(pool)
  await anna.bond(pool.id, 2)
  await expect(decide(id)).rejects.toThrow('no longer bonded')
  const said = await pool.send(anna.pool.url, { path: callbackPath, body: { request_id: id, status: 'executed' } })
  expect(said.status).toBe(403)
})

test('the database knows the same moves as the code, and no other', async () => {
  const pool = await foreign()
  const states = ['pending', 'rejected', 'expired', 'approved', 'executed', 'failed', 'executed_no_callback'] as const
  const { database } = anna.pool.db
  const now = new Date()
  const allowed: string[] = []
  for (const direction of ['in', 'out'] as const)
    for (const from of states)
      for (const to of states) {
        const id = freshId()
        await database.sql`
          insert into admin_requests (direction, request_id, peer_id, action, params, state, created_at, expires_at)
          values (${direction}, ${id}, ${pool.id}, 'query_events', '{}', ${from}, ${now}, ${now})`
        const moved = await database.sql`update admin_requests set state = ${to} where request_id = ${id}`.then(
          () => true,
          () => false,
        )
        if (moved && from !== to) allowed.push(`${direction} ${from} ${to}`)
      }
  const drawn = Object.entries(requestMoves).flatMap(([direction, moves]) =>
    Object.entries(moves).flatMap(([from, to]) => to.map((one) => `${direction} ${from} ${one}`)),
  )
  expect(allowed.sort()).toEqual(drawn.sort())
})
