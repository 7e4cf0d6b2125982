import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Identity } from '#crypto'
import {
  commitmentOf,
  type Evidence,
  encodeEvidence,
  encodeMessage,
  encodeSigned,
  messageType,
  signBatch,
  verifyFeature,
  type WorkerId,
} from '#protocol'
import { RawWorker, type SessionPair, type SimulatedRuntime, sessionPair, simulatedRuntime, testWorker } from '#testkit'
import { alice as stranger } from '../testkit/receipt-sample.ts'
import { sampleEvidence, samplePosition } from '../testkit/sample-evidence.ts'
import type { CheckAsk } from './check.ts'
import { encodeCheckFailed, encodeClass, encodeCommitted, encodeEvidenceMessage } from './encode-message.ts'
import { workersLimits } from './limits.ts'
import { Workers } from './workers.ts'

const verifier = testWorker.id as WorkerId
const ask: CheckAsk = {
  kind: 'chat',
  model: 'demo',
  digest: 'f1'.repeat(32),
  choice: 0,
  seed: '00'.repeat(32),
  maxTokens: 64,
  contextTokens: 2_048,
  replay: 'prefill',
  positions: null,
  top: 2,
  deadlineMs: 30_000,
  body: Buffer.from('{"model":"demo"}'),
  tokens: [0, 1, 2].map((id) => ({ id, piece: Buffer.from(`w${id}`) })),
}
const nonce = Buffer.alloc(32, 9)
const never = new AbortController().signal

let runtime: SimulatedRuntime
let workers: Workers
let violations: string[]
let pair: SessionPair
let raw: RawWorker

beforeEach(async () => {
  runtime = simulatedRuntime(1)
  violations = []
  workers = new Workers({ runtime, violated: (_, { message }) => violations.push(message) })
  pair = sessionPair(verifier)
  workers.attach(pair.pool, { standing: 'approved', expiresAt: null, operator: 'op' })
  raw = new RawWorker(pair.worker).hello({ features: [verifyFeature] })
  await runtime.pass(0)
})
afterEach(() => workers.close())

/** Asked, and arrived at the verifier. */
async function asked(more: Partial<CheckAsk> = {}, signal = never) {
  const run = workers.check(verifier, { ...ask, ...more }, signal)
  await runtime.pass(0)
  return run
}

interface Told {
  readonly check: string
  readonly evidence?: Evidence
  /** In the message, in the hash, and whose key signs. */
  readonly worker?: Buffer
  readonly hashed?: Buffer
  readonly signer?: Identity
}

async function commit({ check, evidence = sampleEvidence(), signer = testWorker, ...who }: Told): Promise<void> {
  const { worker = Buffer.from(verifier, 'hex'), hashed = worker } = who
  const commitment = commitmentOf({ check, worker: hashed, nonce, evidence: encodeEvidence(evidence) })
  const bytes = encodeMessage('commitment/1', { check, worker, commitment })
  const [signature] = signBatch(signer, [{ type: 'commitment/1', bytes }])
  if (signature) raw.session.send(messageType.committed, encodeCommitted(check, encodeSigned({ bytes, signature })))
  await runtime.pass(0)
}

async function reveal(check: string, evidence: Evidence | Buffer = sampleEvidence()): Promise<void> {
  const bytes = Buffer.isBuffer(evidence) ? evidence : encodeEvidence(evidence)
  raw.session.send(messageType.evidence, encodeEvidenceMessage(check, nonce, bytes))
  await runtime.pass(0)
}

async function fails(check: string, code = 'withdrawn'): Promise<void> {
  raw.session.send(messageType.checkFailed, encodeCheckFailed({ check, code, message: 'No.', fix: 'None.' }))
  await runtime.pass(0)
}

/** The check is refused, the verifier's fault is on record, its session goes on. */
async function refusedEvidence(told: Partial<Told>, evidence: Evidence | Buffer, why: RegExp): Promise<void> {
  const run = await asked()
  await commit({ check: run.id, ...told })
  const revealed = run.reveal()
  await reveal(run.id, evidence)
  await expect(revealed).rejects.toMatchObject(refusedAs('evidence_refused'))
  await expect(revealed).rejects.toThrow(why)
  expect([checking(), violations.length, raw.refusedWith]).toEqual([0, 1, undefined])
}

const top = [0, 1, 2].map((id) => ({ id, logit: -id }))
const checking = () => workers.show(verifier).worker?.checking
const refusedAs = (code: string) => ({ refusal: { code } })

describe('a check', () => {
  test('is committed to, then revealed', async () => {
    const run = await asked()
    expect(raw.all('check')).toEqual([
      { say: 'check', header: expect.objectContaining({ check: run.id }), body: ask.body, tokens: ask.tokens },
    ])
    expect(checking()).toBe(1)
    await commit({ check: run.id })
    const evidence = sampleEvidence()
    const { commitment } = await run.committed
    const bytes = encodeEvidence(evidence)
    expect(commitment).toEqual(
      commitmentOf({ check: run.id, worker: Buffer.from(verifier, 'hex'), nonce, evidence: bytes }),
    )
    const revealed = run.reveal()
    await runtime.pass(0)
    expect(raw.all('reveal')).toEqual([{ say: 'reveal', check: run.id }])
    await reveal(run.id)
    expect(await revealed).toEqual({ evidence, bytes, nonce })
    expect([checking(), violations]).toEqual([0, []])
  })

  test('tells its verifier nothing but the question: an id at random, and what every check has', async () => {
    const runs = [await asked(), await asked(), await asked()]
    const ids = runs.map(({ id }) => id)
    expect(new Set(ids.map((id) => id.slice(0, 8))).size).toBe(3)
    for (const id of ids) expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    const [first, ...others] = raw.all('check').map(({ header: { check: _, ...rest } }) => JSON.stringify(rest))
    expect(others).toEqual([first, first])
  })

  test('is not revealed before it is committed to', async () => {
    const run = await asked()
    await expect(run.reveal()).rejects.toMatchObject(refusedAs('reveal_refused'))
    expect(raw.all('reveal')).toEqual([])
    await commit({ check: run.id })
    expect(await run.committed).toBeDefined()
  })

  test('ends the session of a verifier that shows its evidence unasked', async () => {
    for (const bound of [false, true]) {
      const run = await asked()
      if (bound) await commit({ check: run.id })
      await reveal(run.id)
      await expect(bound ? run.reveal() : run.committed).rejects.toMatchObject(refusedAs('reveal_refused'))
      expect(raw.refusedWith).toBe('protocol_violation')
      pair = sessionPair(verifier)
      workers.attach(pair.pool, { standing: 'approved', expiresAt: null, operator: 'op' })
      raw = new RawWorker(pair.worker).hello({ features: [verifyFeature] })
      await runtime.pass(0)
    }
  })

  test.each<[string, Partial<Told>]>([
    ['to another check', { check: '018bcfe5-6800-4000-8000-000000000001' }],
    ['signed by another key', { signer: stranger }],
    ['copied from another worker, under its name', { worker: Buffer.from(stranger.id, 'hex') }],
  ])('with a commitment %s is refused', async (_, wrong) => {
    const run = await asked()
    const { check, worker, hashed, signer } = { check: run.id, ...wrong } as Told
    const message = { check, worker: worker ?? Buffer.from(verifier, 'hex'), commitment: hashed ?? Buffer.alloc(32, 3) }
    const bytes = encodeMessage('commitment/1', message)
    const [signature] = signBatch(signer ?? testWorker, [{ type: 'commitment/1', bytes }])
    if (signature) raw.session.send(messageType.committed, encodeCommitted(run.id, encodeSigned({ bytes, signature })))
    await runtime.pass(0)
    await expect(run.committed).rejects.toMatchObject(refusedAs('commitment_refused'))
    expect(violations).toHaveLength(1)
    expect(raw.all('withdraw')).toEqual([{ say: 'withdraw', check: run.id }])
    await fails(run.id)
    expect([checking(), raw.refusedWith]).toEqual([0, undefined])
  })

  test.each<[string, Partial<Told>, Evidence | Buffer, RegExp]>([
    ['other evidence', {}, sampleEvidence(2), /does not open/],
    ['a commitment made for another worker', { hashed: Buffer.alloc(32, 5) }, sampleEvidence(), /does not open/],
    ['evidence that cannot be read', {}, Buffer.from('none'), /does not open/],
  ])('is refused when %s comes', async (_, told, evidence, why) => {
    await refusedEvidence(told, evidence, why)
  })

  test.each<[RegExp, Evidence]>([
    [/other positions/, sampleEvidence(3, { positions: [0, 2].map(samplePosition) })],
    [/more tokens than were committed/, sampleEvidence(4)],
    [/kind of replay/, sampleEvidence(3, { logitsHash: 'ab'.repeat(32) })],
    [/does not have/, sampleEvidence(3, { unknownAt: 1 })],
    [/wrong piece/, sampleEvidence(3, { wrongPieces: [3] })],
    [
      /more tokens than were asked/,
      sampleEvidence(3, { ending: { shown: 'nothing', end: { ...samplePosition(3), top } } }),
    ],
  ])('is refused when the evidence is about something else: %s', async (why, evidence) => {
    await refusedEvidence({ evidence }, evidence, why)
  })

  test('may ask for some positions', async () => {
    const run = await asked({ positions: [0, 2, 60] })
    const evidence = sampleEvidence(3, { positions: [0, 2].map(samplePosition) })
    await commit({ check: run.id, evidence })
    const revealed = run.reveal()
    await reveal(run.id, evidence)
    expect((await revealed).evidence).toEqual(evidence)
  })

  test('ends with the verifier’s refusal, in words of ours', async () => {
    const run = await asked()
    await fails(run.id, 'model_not_found')
    await expect(run.committed).rejects.toMatchObject(refusedAs('model_not_found'))
    await expect(run.committed).rejects.not.toThrow('No.')
    expect(checking()).toBe(0)
  })
})

describe('a check is not waited for', () => {
  test('beyond its deadline, and holds its place until the verifier lets go', async () => {
    const run = await asked()
    await runtime.pass(ask.deadlineMs + workersLimits.sweepMs)
    await expect(run.committed).rejects.toMatchObject(refusedAs('deadline_exceeded'))
    expect(raw.all('withdraw')).toHaveLength(1)
    await commit({ check: run.id })
    expect(checking()).toBe(1)
    await fails(run.id)
    expect([checking(), violations]).toEqual([0, []])
  })

  test('when its caller has gone', async () => {
    const caller = new AbortController()
    const run = await asked({}, caller.signal)
    caller.abort(new Error('the epoch is over'))
    await expect(run.committed).rejects.toThrow('the epoch is over')
    await runtime.pass(0)
    expect(raw.all('withdraw')).toHaveLength(1)
    const late = await asked({}, caller.signal)
    await expect(late.committed).rejects.toThrow('the epoch is over')
    expect(raw.all('check')).toHaveLength(1)
  })

  test('when the verifier is lost, committed or not', async () => {
    const [open, bound] = [await asked(), await asked()]
    await commit({ check: bound.id })
    pair.cut()
    await runtime.pass(0)
    await expect(open.committed).rejects.toMatchObject(refusedAs('worker_lost'))
    await expect(bound.reveal()).rejects.toMatchObject(refusedAs('worker_lost'))
  })

  test('when nobody asks to see it, or it does not come', async () => {
    const [forgotten, silent] = [await asked(), await asked()]
    await commit({ check: forgotten.id })
    await commit({ check: silent.id })
    const revealed = silent.reveal()
    await runtime.pass(workersLimits.evidenceMsMax + workersLimits.sweepMs)
    await expect(revealed).rejects.toMatchObject(refusedAs('deadline_exceeded'))
    await reveal(silent.id) // it crossed the withdrawal
    await runtime.pass(workersLimits.revealMsMax - workersLimits.evidenceMsMax)
    await expect(forgotten.reveal()).rejects.toMatchObject(refusedAs('deadline_exceeded'))
    expect(checking()).toBe(1)
  })

  test('by a verifier that never lets go: it is cut off', async () => {
    await asked({ deadlineMs: 1_000 })
    await runtime.pass(1_000 + workersLimits.stopMsMax + 2 * workersLimits.sweepMs)
    expect(raw.refusedWith).toBe('protocol_violation')
  })

  test('at all by who has enough, is leaving, does not look at answers, or is not here', async () => {
    for (let n = 0; n < workersLimits.checksPerWorkerMax; n++) await asked()
    await expect((await asked()).committed).rejects.toMatchObject(refusedAs('overloaded'))
    expect(workers.show(verifier).worker).toMatchObject({ active: 0, checking: workersLimits.checksPerWorkerMax })
    workers.drain(verifier)
    await expect((await asked()).committed).rejects.toMatchObject(refusedAs('overloaded'))
    const other = workers.check('0f'.repeat(32) as WorkerId, ask, never)
    await expect(other.committed).rejects.toMatchObject(refusedAs('worker_lost'))
    await expect(other.reveal()).rejects.toMatchObject(refusedAs('worker_lost'))
    pair.cut()
    pair = sessionPair(verifier)
    workers.attach(pair.pool, { standing: 'approved', expiresAt: null, operator: 'op' })
    raw = new RawWorker(pair.worker).hello()
    await runtime.pass(0)
    await expect((await asked()).committed).rejects.toMatchObject(refusedAs('no_worker'))
  })

  test.each<[string, Partial<CheckAsk>, string]>([
    ['more positions than evidence lists', { tokens: Array(5_000).fill(ask.tokens[0]) }, 'invalid_request'],
    ['more than evidence holds', { tokens: Array(4_000).fill(ask.tokens[0]), top: 64 }, 'invalid_request'],
    [
      'a longer answer than a message',
      { tokens: Array(130).fill({ id: 1, piece: Buffer.alloc(65_535) }), positions: [0] },
      'context_length_exceeded',
    ],
  ])('for %s', async (_, more, code) => {
    const run = await asked(more)
    await expect(run.committed).rejects.toMatchObject(refusedAs(code))
    expect(raw.all('check')).toEqual([])
  })
})

describe('a kernel class', () => {
  const calibration = { model: 'demo', digest: null, text: 'a fresh text', deadlineMs: 30_000 }
  const classOf = 'cd'.repeat(32)

  test('is measured by a text of the pool', async () => {
    const found = workers.calibrate(verifier, calibration, never)
    await runtime.pass(0)
    const [{ calibrate } = { calibrate: undefined }] = raw.all('calibrate')
    expect(calibrate).toMatchObject(calibration)
    raw.session.send(messageType.class, encodeClass({ check: calibrate?.check ?? '', class: classOf }))
    expect(await found).toBe(classOf)
    expect(checking()).toBe(0)
  })

  test('that does not come, or cannot be found, is a refusal', async () => {
    const [late, failed] = [
      workers.calibrate(verifier, calibration, never),
      workers.calibrate(verifier, calibration, never),
    ]
    const refused = [
      expect(late).rejects.toMatchObject(refusedAs('deadline_exceeded')),
      expect(failed).rejects.toMatchObject(refusedAs('unsupported_parameter')),
    ]
    await runtime.pass(0)
    await fails(raw.all('calibrate')[1]?.calibrate.check ?? '', 'unsupported_parameter')
    await runtime.pass(calibration.deadlineMs + workersLimits.sweepMs)
    await Promise.all(refused)
    raw.session.send(
      messageType.class,
      encodeClass({ check: raw.all('calibrate')[0]?.calibrate.check ?? '', class: classOf }),
    )
    await runtime.pass(0)
    expect([checking(), raw.refusedWith]).toEqual([0, undefined])
    await expect(workers.calibrate('0f'.repeat(32) as WorkerId, calibration, never)).rejects.toMatchObject(
      refusedAs('worker_lost'),
    )
  })
})

test('a message about a check that is not open ends the session', async () => {
  await fails('018bcfe5-6800-4000-8000-000000000001')
  expect(raw.refusedWith).toBe('protocol_violation')
})
