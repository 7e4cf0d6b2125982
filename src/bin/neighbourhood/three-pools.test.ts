import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import type OpenAI from 'openai'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventually, type Neighbourhood } from '#testkit'
import { ForeignPool } from '../../testkit/foreign-pool.ts'
import { answered, ask, befriend, Town } from '../../testkit/town.ts'

const [anna, bert, carl] = [new Town(), new Town(), new Town()]
const foreign = new ForeignPool(randomBytes(32))
/** Of bert, by two operators. */
const workers: Awaited<ReturnType<Neighbourhood['join']>>[] = []
const long = { ...ask('tell me about lichen'), max_tokens: 400 }

beforeAll(async () => {
  await foreign.listen()
  await new Promise<void>((resolve) => endless.listen(0, '127.0.0.1', resolve))
  const pools = [anna, bert, carl]
  for (const pool of pools) await pool.makeRoad()
  const hosts = [...pools.map(({ road }) => road.url), foreign.url].map((url) => new URL(url).host).join(',')
  // one after the other: three databases are made, on however few cores
  const known = { LICHEN_FEDERATION_HTTP_HOSTS: hosts }
  await anna.open('pool', 'anna', known)
  await bert.open('pool', 'bert', known)
  // one worker that does one thing at a time, and others are asked as soon as somebody waits for it
  await carl.open('up', 'carl', { ...known, LICHEN_SLOTS: '1', LICHEN_FEDERATION_QUEUE: '0' })
  for (const operator of ['ada', 'bob']) workers.push(await bert.join(operator))
}, 300_000)
afterAll(async () => {
  endless.closeAllConnections()
  endless.close()
  await Promise.all([anna, bert, carl, foreign].map((pool) => pool[Symbol.asyncDispose]()))
})

test('a pool without workers answers with those of another, and its receipt names all three', async () => {
  await befriend(anna, bert)
  const { text, receipt } = await eventually('a worker of bert', () =>
    answered(anna, 'echo bdfh').catch(() => false as const),
  )
  expect(text).toBe('bdfh')
  const line = await eventually('the receipt of bert', async () =>
    (await anna.cli('verify', receipt, '--pool', anna.id)).out
      .split('\n')
      .find((one) => one.startsWith('asked at pool')),
  )
  expect(line).toContain(`asked at pool ${anna.id.slice(0, 12)}…, computed by pool ${bert.id.slice(0, 12)}… on worker`)
  const owed = await eventually('the price', async () => (await anna.owes(bert.id)) || undefined)
  expect(owed).toBeGreaterThan(0)
  await expect.poll(() => bert.owes(anna.id)).toBe(-owed)
  // what was asked for in the last two minutes is in no statement yet
  const statement = await anna.admin('POST', `/federation/peers/${bert.id}/statement`)
  expect(statement).toMatchObject({ jobs: 0, differences: [], theirs: { signature: expect.any(String) } })
})

test('what must not leave is not forwarded', async () => {
  const headers = { 'x-lichen-privacy': 'paranoid' }
  await expect(anna.client().chat.completions.create(ask('echo ab'), { headers })).rejects.toThrow()
  const { key } = await anna.admin<{ key: string }>('POST', '/keys', { name: 'at home', forwarding: false })
  await expect(anna.client({ apiKey: key }).chat.completions.create(ask('echo ab'))).rejects.toThrow()
  const own = await answered(bert, 'echo ab')
  expect(own.text).toBe('ab')
  expect((await bert.owes(anna.id)) + (await anna.owes(bert.id))).toBe(0)
})

test('while the queue here is long another pool helps, and what must not leave waits', async () => {
  await befriend(carl, bert)
  const { key } = await carl.admin<{ key: string }>('POST', '/keys', { name: 'at home', forwarding: false })
  const paranoid = { headers: { 'x-lichen-privacy': 'paranoid' } }
  const computed = async (client: OpenAI, options = {}) => {
    const { response } = await client.chat.completions.create({ ...long, max_tokens: 100 }, options).withResponse()
    return carl.computedBy(response.headers.get('x-lichen-receipt') ?? '')
  }
  const went = await eventually('a job to go to bert', async () => {
    const free = Promise.all(Array.from({ length: 8 }, () => computed(carl.client())))
    const kept = Promise.all([computed(carl.client(), paranoid), computed(carl.client({ apiKey: key }))])
    expect((await kept).flat()).not.toContain(bert.id)
    const by = (await free).flat()
    return by.includes(bert.id) && by
  })
  // its own worker goes on
  expect(new Set(went).size).toBeGreaterThan(1)
}, 120_000)

test('lending and borrowing are switched off and on while the pools run', async () => {
  const jobs = async () => (await bert.admin<{ data: { id: string }[] }>('GET', '/jobs?limit=1')).data
  const isAnswered = () => answered(anna, 'echo ba').catch(() => false as const)
  const before = await jobs()
  await bert.toggle('accept', false)
  await expect(answered(anna, 'echo ba')).rejects.toThrow('accept_forwarding is off')
  await bert.toggle('accept', true)
  await anna.toggle('forward', false)
  await expect(answered(anna, 'echo ba')).rejects.toThrow()
  expect(await jobs()).toEqual(before)
  await anna.toggle('forward', true)
  expect(await eventually('work to go across', isAnswered)).toMatchObject({ text: 'ba' })
})

/** Reads a long answer of another pool's worker; once it has begun, the worker that writes it is killed. */
async function readWhileItsWorkerDies(): Promise<{ text: string; finish: string | null }> {
  const stream = await anna.client().chat.completions.create({ ...long, stream: true })
  let [text, finish, killed]: [string, string | null, boolean] = ['', null, false]
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? ''
    finish = chunk.choices[0]?.finish_reason ?? finish
    if (text === '' || killed) continue
    killed = true
    const busy = await eventually('a busy worker', async () => (await bert.workers()).find(({ active }) => active > 0))
    await workers.find(({ id }) => id === busy.id)?.program.crash()
  }
  return { text, finish }
}

test('a worker of the other pool that is killed in mid-stream is replaced there, and the client here cannot tell', async () => {
  const whole = (await bert.client().chat.completions.create(long)).choices[0]?.message.content
  expect(await readWhileItsWorkerDies()).toEqual({ text: whole, finish: 'stop' })
})

test('and where nobody is left, the client here is told: what came from one pool is not passed on to a third', async () => {
  const owed = await eventually('the long answer to be paid', async () => {
    const sum = await anna.owes(bert.id)
    return sum > 100_000 && sum
  })
  await expect(readWhileItsWorkerDies()).rejects.toThrow()
  // bert’s own people are answered by carl, whom anna does not know
  const own = await eventually('carl to be asked', () => answered(bert, 'echo bdfh').catch(() => false as const))
  expect(await bert.computedBy(own.receipt)).toContain(carl.id)
  await expect(answered(anna, 'echo bdfh')).rejects.toThrow()
  const { data } = await bert.admin<{ data: { id: string; key_id: string }[] }>('GET', '/jobs?limit=500')
  const forAnna = data.filter(({ key_id }) => key_id === `peer:${anna.id}`)
  expect(forAnna.length).toBeGreaterThan(2)
  for (const { id } of forAnna) expect(await bert.computedBy(id)).not.toContain(carl.id)
  expect(await anna.owes(bert.id)).toBe(owed)
  workers.push(await bert.join('carla'))
  await anna.look(bert)
}, 180_000)

/** What a worker's upstream writes for as long as anybody reads. */
const endless = http.createServer((request, out) => {
  if (request.method === 'GET') return void out.end('{"object":"list","data":[{"id":"endless","object":"model"}]}')
  const chunk = {
    object: 'chat.completion.chunk',
    choices: [{ index: 0, delta: { content: 'on ' }, finish_reason: null }],
  }
  out.writeHead(200, { 'content-type': 'text/event-stream' })
  const writing = setInterval(() => out.write(`data: ${JSON.stringify(chunk)}\n\n`), 50)
  out.on('close', () => clearInterval(writing))
})

/** An answer that a worker of `lender` is writing for a client of `asked`: what is left of it. */
async function midStream(asked: Town, lender: Town): Promise<() => Promise<void>> {
  const { port } = endless.address() as AddressInfo
  await lender.join('eve', ['--upstream', `http://127.0.0.1:${port}/v1`])
  await asked.look(lender)
  const stream = await eventually('the endless model', () =>
    asked
      .client()
      .chat.completions.create({ ...ask('go'), model: 'endless', max_tokens: 5_000, stream: true })
      .catch(() => false as const),
  )
  const pieces = stream[Symbol.asyncIterator]()
  while (!(await pieces.next()).value?.choices[0]?.delta.content);
  return async () => {
    while (!(await pieces.next()).done);
  }
}

const newestJob = async (town: Town) =>
  (await town.admin<{ data: { state: string }[] }>('GET', '/jobs?limit=1')).data[0]?.state

test('a pool whose human revokes its borrower ends the answer in mid-stream', async () => {
  const rest = await midStream(anna, bert)
  const cut = expect(rest()).rejects.toThrow()
  const { out, code } = await bert.cli('fed', 'revoke', anna.id.slice(0, 12))
  expect([code, out]).toEqual([0, expect.stringContaining('revoked')])
  await cut
  await expect.poll(() => newestJob(bert)).toBe('cancelled')
  expect((await anna.cli('fed', 'ping', bert.id)).code).toBe(1)
})

test('pools are introduced by a file, or by the text of a QR code, and by nothing that was slipped in on the way', async () => {
  const bundleOf = async (town: Town) => JSON.parse((await town.cli('fed', 'info', '--json')).out).bundle as string
  const known = async (town: Town) => (await town.peers()).map(({ id }) => id)
  expect(await known(anna)).not.toContain(carl.id)
  const text = await bundleOf(carl)
  const middle = Math.floor(text.length / 2)
  const other = text.slice(0, middle) + (text[middle] === 'B' ? 'C' : 'B') + text.slice(middle + 1)
  expect((await anna.cli('fed', 'add', other)).code).not.toBe(0)
  expect(await known(anna)).not.toContain(carl.id)
  const file = path.join(anna.folder, 'carl.txt')
  writeFileSync(file, (await carl.cli('fed', 'info')).out)
  expect(await anna.cli('fed', 'add', file)).toMatchObject({
    code: 0,
    out: expect.stringContaining(carl.id.slice(0, 12)),
  })
  expect(await known(anna)).toContain(carl.id)
  await eventually('carl to know anna', async () => (await known(carl)).includes(anna.id))
  // the other way, by what a phone reads from the screen; she is known already, and stays what she is
  expect(await carl.cli('fed', 'add', await bundleOf(anna))).toMatchObject({ code: 0 })
  expect((await carl.peers()).find(({ id }) => id === anna.id)).toMatchObject({ trust: 1, reachable: true })
})

test('where one pool fails, another one answers at once', async () => {
  await anna.promote(carl.id, 2)
  await carl.promote(anna.id, 2)
  const { text } = await eventually('a worker of carl', () => answered(anna, 'echo hgfd').catch(() => false as const))
  expect(text).toBe('hgfd')
  await expect.poll(() => anna.owes(carl.id)).toBeGreaterThan(0)
})

test('cut apart, both go on and write, and afterwards they hold the same facts without help', async () => {
  await anna.bond(carl.id, (await carl.adminKey()).public_key)
  await carl.bond(anna.id, (await anna.adminKey()).public_key)
  await eventually('both to be bonded', async () =>
    (await anna.peers()).some(({ id, trust }) => id === carl.id && trust === 3),
  )
  for (const { road } of [anna, carl]) road.cut()
  await carl.cli('prices', 'set', 'lichen-demo', '--completion-token', '0.00003')
  await anna.cli('fed', 'add', foreign.url, '--id', foreign.id)
  await anna.admin('POST', `/federation/peers/${foreign.id}/revoke`)
  expect(await answered(carl, 'echo abc')).toMatchObject({ text: 'abc' })
  // the first call that fails is enough: nobody waits, and nobody calls again
  for (let n = 0; n < 2; n++)
    await expect(answered(anna, 'echo abc')).rejects.toMatchObject({ status: 503, code: 'model_away' })
  const kinds = async (town: Town) => [...(await town.facts()).values()].map(({ kind }) => kind).sort()
  expect(await kinds(anna)).not.toContain('model')
  for (const { road } of [anna, carl]) road.mend()
  await eventually(
    'the same facts, the new price and the revocation among them',
    async () => {
      const [ours, theirs] = [await anna.facts(), await carl.facts()]
      const price = [...ours.values()].some(({ value }) => value.includes('"completion":"30"'))
      return price && ours.size === 2 && [...ours.keys()].sort().join() === [...theirs.keys()].sort().join()
    },
    90_000,
  )
  expect(await kinds(carl)).toEqual(['model', 'revocation'])
  expect(
    (await eventually('work to go across', () => answered(anna, 'echo ba').catch(() => false as const))).text,
  ).toBe('ba')
}, 180_000)

test('a pool of the live network lends and borrows in version 1', async () => {
  const job = '/v1/federation/job'
  foreign.answers.set(job, ({ origin_request_id, max_tokens }) => ({
    ok: true,
    response: `three small words of ${String(max_tokens)}`,
    worker_id: 'w1',
    tokens_in: 5,
    tokens_out: 4,
    exec_pool_id: foreign.id,
    origin_request_id,
    worker_sig: '',
  }))
  await carl.cli('fed', 'add', foreign.url, '--id', foreign.id)
  await carl.promote(foreign.id, 2)
  const lent = await eventually('the model of the foreign pool', () =>
    carl
      .client()
      .chat.completions.create({ ...ask('hello'), model: 'big', max_tokens: 50 })
      .catch(() => false as const),
  )
  expect(lent.choices[0]?.message.content).toBe('three small words of 50')
  expect(lent.usage).toMatchObject({ completion_tokens: 4 })
  expect(foreign.received.at(-1)).toMatchObject({
    path: job,
    body: { origin_pool_id: carl.id, model: 'big', max_tokens: 50, messages: [{ role: 'user', content: 'hello' }] },
    headers: { 'x-iamine-hop': '1', 'x-iamine-forward-chain': carl.id },
  })
  const sent = {
    path: job,
    lent: true,
    body: {
      origin_pool_id: foreign.id,
      origin_request_id: 'r1',
      messages: [{ role: 'user', content: 'echo bdfh' }],
      model: 'lichen-demo',
      max_tokens: 20,
    },
  }
  const borrowed = await foreign.send(carl.url, sent)
  expect(borrowed).toMatchObject({
    status: 200,
    body: { ok: true, response: 'bdfh', exec_pool_id: carl.id, origin_request_id: 'r1', tokens_out: 4 },
  })
  expect(Object.keys(borrowed.body).sort()).toEqual(
    [
      'exec_pool_id',
      'ok',
      'origin_request_id',
      'response',
      'tokens_in',
      'tokens_out',
      'worker_id',
      'worker_sig',
    ].sort(),
  )
  expect((await foreign.send(carl.url, sent)).status).toBe(409)
  const came = (...chain: string[]) => foreign.send(carl.url, { ...sent, chain: [...chain, foreign.id] })
  expect(await came(carl.id)).toMatchObject({ status: 409, body: { error: expect.stringContaining('loop') } })
  expect(await came(anna.id)).toMatchObject({ status: 409, body: { error: expect.stringContaining('hop') } })
})

/** What has been lent a while ago: a statement leaves out the last two minutes. */
async function letTimePass(): Promise<void> {
  for (const pool of [bert, carl])
    await pool.inBooks(async ({ sql }) => {
      await sql`update lent_jobs set at = at - interval '10 minutes'`
      await sql`update borrowed_runs set at = at - interval '10 minutes'`
    })
}

interface Comparison {
  jobs: number
  /** Amounts are micro-credits as text. */
  differences: { id: string; by: string; ours: string | null; theirs: string | null }[]
}

test('what two pools have differently in their books is shown to both, and never papered over', async () => {
  await letTimePass()
  // for each of them bert had been too busy at first
  await carl.inBooks(
    ({ sql }) => sql`
      insert into borrowed_runs (id, peer_id, job_id, at)
      select gen_random_uuid(), peer_id, job_id, at - interval '1 second' from borrowed_runs where peer_id = ${bert.id}`,
  )
  const statement = (one: Town, other: Town) => one.admin<Comparison>('POST', `/federation/peers/${other.id}/statement`)
  const agreed = await statement(carl, bert)
  expect(agreed).toMatchObject({ differences: [] })
  expect(agreed.jobs).toBeGreaterThan(1)
  const owes = await carl.owes(bert.id)
  // bert's books lose one job, and carl's say less for another
  const [lost, less] = await bert.inBooks(async ({ sql }) => {
    const rows = await sql<{ id: string }[]>`
      select origin_request_id as id from lent_jobs l join transfers t on t.hold = l.job_id and t.phase = 'posted'
       where peer_id = ${carl.id} order by l.at desc limit 2`
    await sql`delete from lent_jobs where origin_request_id = ${rows[0]?.id ?? ''}`
    return rows.map(({ id }) => id)
  })
  await carl.inBooks((books) =>
    books.transaction(async (tx) => {
      await tx`set local session_replication_role = replica`
      await tx`
        update entries set amount = amount - 1
         where account = (select id from accounts where name = ${`peer:${bert.id}`})
           and transfer in (select t.id from transfers t join borrowed_runs b on b.job_id = t.hold where b.id = ${less ?? ''})`
    }),
  )
  const [ours, theirs] = [await statement(carl, bert), await statement(bert, carl)]
  expect(ours.jobs).toBe(agreed.jobs - 2)
  const byId = (rows: Comparison['differences']) => new Map(rows.map(({ id, ...row }) => [id, row]))
  const [here, there] = [byId(ours.differences), byId(theirs.differences)]
  expect([...here.keys()].sort()).toEqual([lost, less].sort())
  expect(here.get(lost ?? '')).toMatchObject({ by: 'them', theirs: null })
  const { ours: mine, theirs: yours } = here.get(less ?? '') ?? {}
  expect(Number(yours) - Number(mine)).toBe(1)
  for (const [id, { ours, theirs }] of here) expect(there.get(id)).toEqual({ by: 'us', ours: theirs, theirs: ours })
  expect(await carl.owes(bert.id)).toBe(owes)
  const { out } = await bert.cli('fed', 'statement', carl.id)
  for (const id of [lost, less]) expect(out).toContain(id)
})

test('a pool whose human revokes its lender has nothing more from it, also of what is being written', async () => {
  const rest = await midStream(anna, carl)
  const cut = expect(rest()).rejects.toThrow()
  expect(await anna.cli('fed', 'revoke', carl.id.slice(0, 12))).toMatchObject({ code: 0 })
  await cut
  await expect.poll(() => newestJob(carl)).toBe('cancelled')
  expect((await carl.cli('fed', 'ping', anna.id)).code).toBe(1)
  await expect(answered(anna, 'echo ba')).rejects.toThrow()
})
