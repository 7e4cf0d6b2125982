import { afterAll, beforeAll, expect, test } from 'vitest'
import { identityFromSeed } from '#crypto'
import { bodyCommitment, decodeSigned, encodeMessage, messageType, type Order, signBatch, toSigned } from '#protocol'
import { systemRuntime } from '#runtime'
import { testPool } from '#testkit'
import { decodePoolMessage, encodeDispatch } from '#workers'
import { seededNumbers } from '../../tools/demo-model/seeded-numbers.ts'
import { areaUnderCurve, boosted } from '../testkit/classifier.ts'
import { SmallPool } from '../testkit/small-pool.ts'
import { type SmallRun, smallAccount, smallPayer } from '../testkit/small-workers.ts'
import { type TestDatabase, testDatabase } from '../testkit/test-database.ts'
import type { AcceptedRequest } from './accepted-request.ts'

/** A worker must not see whether a user asks or the pool itself, to find out what it answers: both go the one way that there is. */

let home: TestDatabase
let pool: SmallPool
beforeAll(async () => {
  home = await testDatabase()
  pool = await SmallPool.open(home.database, { audited: false })
})
afterAll(async () => {
  await pool[Symbol.asyncDispose]()
  await home.drop()
})

/** One request as its worker gets it, contents left out. */
interface Seen {
  readonly isCanary: boolean
  /** Names of the header's fields, in order; and the values that are no numbers. */
  readonly form: string
  readonly features: readonly number[]
}

const requests = 4_200
const alice = identityFromSeed(Buffer.alloc(32, 9))
/** Of alice's orders. */
let seq = 0

/** The bytes of a dispatch, and what can be counted in them. */
function seenOf({ order }: SmallRun, more: readonly number[], isCanary: boolean): Seen {
  const { papers, body, jobId: _, lease = '', ...rest } = order
  const wire = Buffer.concat(encodeDispatch({ ...rest, lease, stream: 1, credit: 65_536 }, papers, body))
  const decoded = decodePoolMessage(messageType.dispatch, wire)
  const assigned = decodeSigned(papers.assignment, 'assignment/1')
  if (!decoded.ok || decoded.message.say !== 'dispatch' || !assigned.ok) throw new Error('not a dispatch')
  const { header } = decoded.message
  const { message, signature, bytes } = assigned.signed
  const { order: hash, commitment, seed, pseudonym, expires, kind, model, decode } = message
  const ids = [hash, commitment, seed, pseudonym, papers.salt, Buffer.from(lease.replaceAll('-', ''), 'hex')]
  const numbers = [...Object.values(header), ...Object.values(message)].map((value) => {
    return typeof value === 'number' || typeof value === 'bigint' ? Number(value) : 0
  })
  const batch = [signature.size, signature.index, signature.path.length]
  const sizes = [wire.length, body.length, bytes.length, papers.assignment.length]
  const form = [
    Object.keys(header),
    Object.keys(message),
    kind,
    model,
    decode,
    header.digest,
    papers.order,
    ids.map((id) => id.length),
  ]
  const ends = ids.flatMap((id) => [id.readUInt16BE(0), id.readUInt16BE(id.length - 2)])
  const features = [...sizes, ...batch, ...numbers, ...ends, expires - systemRuntime.now(), ...more]
  return { isCanary, form: JSON.stringify(form), features }
}

/** A user's: signed with its own key, or by the pool for one of its API keys; with or without words about assurance. */
function ofUser(body: Buffer, random: () => number): Partial<AcceptedRequest> {
  const stream = random() < 0.5
  const unchecked = random() < 0.5 ? { assurance: { level: 'none', explicit: true } as const } : {}
  if (random() < 0.5) return { ...unchecked, stream, key: smallPayer(`key-${Math.floor(8 * random())}`) }
  const salt = systemRuntime.randomBytes(32)
  const message: Order = {
    pool: Buffer.from(testPool.id, 'hex'),
    payer: alice.publicKey,
    custody: 'payer',
    account: smallAccount,
    job: null,
    seq: ++seq,
    kind: 'chat',
    model: 'moss',
    digest: null,
    cap: 100_000_000n,
    prices: { prompt: 100n + BigInt(Math.floor(7 * random())), completion: 400n },
    assurance: 'sampled',
    expires: systemRuntime.now() + 60_000,
    commitment: bodyCommitment(salt, body),
  }
  const bytes = encodeMessage('order/1', message)
  const [signature] = signBatch(alice, [{ type: 'order/1', bytes }])
  if (!signature) throw new Error('a batch of one has one signature')
  const order = { order: toSigned('order/1', message, bytes, signature), salt }
  return { stream, key: smallPayer('key-alice', { payerKey: alice.publicKey }), order }
}

/** What the only worker of a pool gets, requests of users and canaries coming at random. `hasty`: canaries have less time. */
async function record(count: number, hasty = false): Promise<Seen[]> {
  const random = seededNumbers(7)
  const canaries = new Set<string>()
  const got: { run: SmallRun; more: number[] }[] = []
  let lastAt = 0
  const worker = pool.workers.join('wyn', {
    slots: 512,
    plan: async (run) => {
      const now = performance.now()
      got.push({ run, more: [Math.log(1 + now - lastAt), worker.runs.size] })
      lastAt = now
      await run.answer(3)
      run.end()
    },
  })
  const open = new Set<Promise<unknown>>()
  for (let n = 0; n < count; n++) {
    const isCanary = random() < 0.5
    const words = Array.from({ length: 2 + Math.floor(60 * random()) }, () => 'abcdefgh'[Math.floor(8 * random())])
    const body = Buffer.from(JSON.stringify({ messages: [{ role: 'user', content: words.join(' ') }] }))
    const common = {
      body,
      promptBytes: body.length,
      maxTokens: hasty && isCanary ? 40 : 16 + Math.floor(64 * random()),
    }
    const more = isCanary ? { key: smallPayer('key-of-the-pool') } : ofUser(body, random)
    const asked = pool.ask({ ...common, ...more }).then(async (client) => {
      if (isCanary) canaries.add(client.handle?.id ?? '')
      await client.ended
    })
    open.add(asked.finally(() => open.delete(asked)))
    // They come one by one or several at once, as long as they like.
    if (random() < 0.2 || open.size > 200) await new Promise((resolve) => setTimeout(resolve, 1))
  }
  await Promise.all(open)
  worker.die()
  return got.map(({ run, more }) => seenOf(run, more, canaries.has(run.order.jobId ?? '')))
}

/** How well a classifier that learned on one half tells the other half apart: 0.5 = not at all. */
function told(seen: readonly Seen[]): number {
  const cases = seen.map(({ features, isCanary: is }) => ({ features, is }))
  const classify = boosted(cases.filter((_, n) => n % 2 === 0))
  const scores = cases.filter((_, n) => n % 2 === 1).map(({ features, is }) => ({ score: classify(features), is }))
  return areaUnderCurve(scores)
}

test('a worker cannot tell a request of the pool itself from those of users, by form, size, order or time', async () => {
  const seen = await record(requests)
  expect(seen).toHaveLength(requests)
  expect(new Set(seen.map(({ form }) => form)).size).toBe(1)
  for (const isCanary of [true, false]) {
    expect(seen.filter((one) => one.isCanary === isCanary).length).toBeGreaterThanOrEqual(2_000)
  }
  expect(told(seen)).toBeLessThan(0.55)
}, 120_000)

test('the same classifier tells canaries that all ask for as much', async () => {
  expect(told(await record(600, true))).toBeGreaterThan(0.8)
})
