import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { generateIdentity } from '#crypto'
import type { PoolId } from '#protocol'
import { systemRuntime } from '#runtime'
import type { Sayings, ToldModel } from '../../federation/facts/exchange.ts'
import { type Fact, type SignedFact, signFact } from '../../federation/facts/fact.ts'
import { reconcile, type Send } from '../../federation/facts/reconcile.ts'
import { factLimits } from '../../federation/limits.ts'
import { FactPool } from '../../testkit/fact-pool.ts'

let anna: FactPool
let bert: FactPool
beforeAll(async () => {
  ;[anna, bert] = await Promise.all([FactPool.open('anna'), FactPool.open('bert')])
  await anna.bondWith(bert)
})
afterAll(async () => {
  await Promise.all([anna, bert].map((pool) => pool[Symbol.asyncDispose]()))
})

const say = (pool: FactPool, name: string, value: string | null) =>
  pool.exchange.facts.publish('model', name, value === null ? null : Buffer.from(value))
const takeFrom = (taker: FactPool, giver: FactPool) => taker.exchange.exchange(giver.pool.id)
const stop = new AbortController().signal
const hashes = async (pool: FactPool) => (await pool.exchange.facts.hashes()).map((hash) => hash.toString('hex')).sort()

test('what one pool says stands at the other, once, and what it takes back is gone there', async () => {
  await say(anna, 'moss', '1')
  expect(await say(anna, 'moss', '1')).toBeUndefined()
  await say(anna, 'moss', '2')
  await say(anna, 'fern', '5')
  expect(await takeFrom(bert, anna)).toMatchObject({ agreed: true, kept: 3, refused: 0 })
  expect(await takeFrom(bert, anna)).toMatchObject({ agreed: true, kept: 0, rounds: 2 })
  expect(await bert.sees()).toEqual(await anna.sees())
  await say(anna, 'fern', null)
  await takeFrom(bert, anna)
  const short = anna.pool.id.slice(0, 4)
  expect(await bert.sees()).toEqual([`${short} model moss=2`])
})

test('two sites that were cut apart go on, and agree again after the cut without help', async () => {
  for (const pool of [anna, bert]) pool.pool.kill()
  for (let n = 0; n < 40; n++) await Promise.all([say(anna, `a${n}`, '1'), say(bert, `b${n}`, '1')])
  await say(anna, 'moss', '3')
  expect(await takeFrom(bert, anna)).toMatchObject({ agreed: false, kept: 0 })
  expect(await anna.sees()).toHaveLength(41)
  for (const pool of [anna, bert]) pool.pool.kill(false)
  expect(await takeFrom(bert, anna)).toMatchObject({ agreed: true, kept: 41 })
  expect(await takeFrom(anna, bert)).toMatchObject({ agreed: true, kept: 40 })
  expect(await hashes(anna)).toEqual(await hashes(bert))
  expect(await anna.sees()).toEqual(await bert.sees())
  expect(await takeFrom(anna, bert)).toMatchObject({ agreed: true, kept: 0, rounds: 2 })
})

test('what the order of arrival no longer shows is found by the sketch', async () => {
  await say(bert, 'lost', '1')
  await takeFrom(anna, bert)
  await anna.pool.db.sql`delete from facts where name in ('lost', 'b7', 'b9')`
  await anna.pool.db.sql`update fact_authors set facts = facts - 3 where author = ${bert.pool.id}`
  expect(await takeFrom(anna, bert)).toMatchObject({ agreed: true, kept: 3, rounds: 3 })
  expect(await hashes(anna)).toEqual(await hashes(bert))
})

test('who is not bonded is told nothing', async () => {
  await using carla = await FactPool.open('carla')
  await carla.pool.federation.office.add(anna.pool.url)
  expect(await takeFrom(carla, anna)).toMatchObject({ agreed: false, kept: 0, rounds: 1 })
})

/** A peer that answers as a test wants. */
const answering =
  (answer: (path: string, body: Record<string, unknown>) => object): Send =>
  async (_peer, path, body) => ({ ok: true, body: answer(path, body as Record<string, unknown>) })
const ask = (send: Send, by: FactPool = bert) => reconcile(by.exchange.facts, anna.pool.id, 0n, send, stop)
const take = (by: FactPool, ...facts: SignedFact[]) =>
  by.exchange.facts.take(
    anna.pool.id,
    facts.map(({ wire }) => wire),
  )
const first = {
  generation: 1,
  kind: 'model',
  name: 'moss',
  value: Buffer.from('1'),
  count: 0,
  prev: null,
  expires: null,
}
const signed = (author: { id: string; sign: (bytes: Buffer) => Buffer }, more: Partial<Fact> = {}) =>
  signFact({ ...first, author: author.id as PoolId, ms: Date.now(), ...more }, author)

test('a fact from the future, of a stranger, or under another key is refused, remembered, and not asked for again', async () => {
  const stranger = generateIdentity(systemRuntime)
  const future = signed(anna.pool.identity, { ms: Date.now() + factLimits.aheadMsMax + 60_000 })
  const forged = signFact({ ...first, author: anna.pool.id, ms: Date.now() }, stranger)
  const strange = signed(stranger)
  const before = await hashes(bert)
  const done = await take(bert, future, forged, strange)
  expect(done.refused.map(({ code }) => code).sort()).toEqual(['author_unknown', 'bad_signature', 'from_the_future'])
  expect(await hashes(bert)).toEqual(before)
  const aside = (await bert.exchange.facts.quarantined(anna.pool.id)).map((hash) => hash.toString('hex'))
  expect(aside.sort()).toEqual([future, forged, strange].map(({ hash }) => hash).sort())
})

test('a tail without an end is left after its rounds', async () => {
  let asked = 0
  const endless = answering(() => ({ facts: [randomBytes(200).toString('base64')], next: String(++asked), more: true }))
  expect(await ask(endless)).toMatchObject({ agreed: false, rounds: factLimits.roundsMax + 1, kept: 0 })
  expect(asked).toBe(factLimits.roundsMax)
})

test('a sketch without an end is left, and so are facts nobody asked for', async () => {
  const key = randomBytes(32).toString('base64')
  const tail = { facts: [], next: '0', more: false }
  const noise = answering((path, { count }) =>
    path.endsWith('tail') ? tail : { key, cells: randomBytes(Number(count) * 14).toString('base64') },
  )
  const left = await ask(noise)
  expect(left.agreed).toBe(false)
  expect(left.rounds).toBeLessThanOrEqual(factLimits.roundsMax + 1)
  expect(await ask(answering((path) => (path.endsWith('tail') ? tail : { key, cells: '' })))).toMatchObject({
    problem: 'it answered with another number of cells',
  })
})

test('an author that contradicts itself is stopped everywhere, whatever came first, until a human decides', async () => {
  await using carla = await FactPool.open('carla')
  await using dora = await FactPool.open('dora')
  for (const pool of [carla, dora]) await pool.bondWith(bert)
  const liar = bert.pool.identity
  const start = Date.now() - 10_000
  const one = signed(liar, { ms: start, name: 'x' })
  const two = signed(liar, { ms: start + 1, name: 'x', prev: one.hash, value: Buffer.from('2') })
  const three = signed(liar, { ms: start + 2, name: 'x', prev: one.hash, value: Buffer.from('3') })
  const four = signed(liar, { ms: start + 3, name: 'y', prev: three.hash, value: Buffer.from('4') })
  for (const fact of [one, two, three, four]) await take(carla, fact)
  await take(dora, four, three)
  await take(dora, two, one)
  const short = liar.id.slice(0, 4)
  for (const pool of [carla, dora]) {
    expect(await pool.sees()).toEqual([`${short} model x=1`])
    expect(await pool.exchange.facts.faults()).toMatchObject([{ author: liar.id, kind: 'fork' }])
    await expect.poll(async () => (await pool.exchange.notices.list(false)).map(({ kind }) => kind)).toEqual(['fault'])
  }
  await carla.exchange.facts.discard(three.hash, 'owner.key')
  expect(await carla.sees()).toEqual([`${short} model x=2`])
  expect(await carla.exchange.facts.faults()).toEqual([])
  // an old value, signed again
  await take(carla, signed(liar, { ms: start + 60, name: 'x', prev: one.hash }))
  expect(await carla.exchange.facts.faults()).toMatchObject([{ kind: 'fork' }])
  const acts = await carla.pool.db.sql`select action, subject from acts where action like 'fact.%'`
  expect(acts).toEqual([{ action: 'fact.discard', subject: three.hash }])
})

test('a revocation elsewhere opens a notice, and a slash raises suspicion only where its evidence holds', async () => {
  const { facts } = anna.exchange
  await facts.publish('revocation', 'f'.repeat(64), Buffer.from('{}'))
  await facts.publish('slash', 'e'.repeat(64), Buffer.from('trust me'))
  await takeFrom(bert, anna)
  const { notices } = bert.exchange
  await expect
    .poll(async () => (await notices.list(false)).map(({ kind }) => kind).sort())
    .toEqual(['revocation', 'slash'])
  expect(notices.isSuspected('e'.repeat(64))).toBe(false)
  const proven = { kind: 'slash', peer: anna.pool.id, subject: 'd'.repeat(64), text: '', same: 'd' } as const
  expect(await notices.open({ ...proven, details: { holds: true } })).toBe(true)
  expect(await notices.open({ ...proven, details: { holds: true } })).toBe(false)
  expect(notices.isSuspected('d'.repeat(64))).toBe(true)
  const [newest] = await notices.list(false)
  await notices.close(newest?.id ?? '', 'owner.key')
  expect(notices.isSuspected('d'.repeat(64))).toBe(false)
  await expect(notices.close(newest?.id ?? '', 'owner.key')).rejects.toThrow('no such open notice')
  expect((await bert.pool.federation.records.read()).get(anna.pool.id)).toMatchObject({ mismatches: 1 })
  expect(bert.pool.federation.peers.get(anna.pool.id)).toMatchObject({ trust: 3, revoked: false })
})

test('a price is told at once, whatever else of a model at most once an hour; a new bond is used out of turn', async () => {
  let models: ToldModel[] = [{ name: 'oak', digest: 'aa', prompt: '1', completion: '2' }]
  const sayings: Sayings = { models: async () => models, slashes: async () => [], revokedTokens: async () => [] }
  await using carl = await FactPool.open('carl', { sayings, mayCall: () => true })
  await using dora = await FactPool.open('dora', { mayCall: () => true })
  await carl.bondWith(dora)
  dora.exchange.soon()
  carl.exchange.soon()
  carl.exchange.soon()
  const told = async () => (await carl.exchange.facts.view('model')).map(({ value }) => JSON.parse(`${value}`))
  await expect.poll(told, { timeout: 10_000 }).toEqual([{ digest: 'aa', prompt: '1', completion: '2' }])
  models = [{ name: 'oak', digest: 'bb', prompt: '1', completion: '2' }]
  await carl.exchange.say()
  expect(await told()).toMatchObject([{ digest: 'aa' }])
  models = [{ name: 'oak', digest: 'bb', prompt: '1', completion: '3' }]
  await carl.exchange.say()
  expect(await told()).toEqual([{ digest: 'bb', prompt: '1', completion: '3' }])
  models = []
  await carl.exchange.say()
  expect(await told()).toHaveLength(1)
  dora.exchange.soon()
  await expect.poll(() => dora.sees(), { timeout: 10_000 }).toHaveLength(1)
})
