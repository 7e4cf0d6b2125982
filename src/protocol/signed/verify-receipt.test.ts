import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { leafHash } from '#crypto'
import {
  alice,
  bob,
  carla,
  pool,
  sampleParts,
  sampleReceipt,
  sampleResponse,
  sampleStream,
  sampleWorkerStatement,
  sideBySide,
  signAlone,
} from '../../testkit/receipt-sample.ts'
import { edits, lies, rewritten } from '../../testkit/wrong-receipts.ts'
import { signCheckpoint } from '../signed-note.ts'
import { encodeSigned } from './envelope.ts'
import { buildReceipt, receiptLeafData } from './receipt-file.ts'
import { streamHash } from './response-hash.ts'
import { verifyReceipt } from './verify-receipt.ts'

const receipt = sampleReceipt()

test('a stranger reads in plain words what an untouched receipt shows', () => {
  const verdict = verifyReceipt(receipt, { response: sampleResponse })
  expect(verdict).toMatchObject({ ok: true })
  expect(verdict.lines).toEqual([
    `signed by pool ${pool.id.slice(0, 12)}…, not pinned`,
    'entry 5 of 6 in the log under that signature',
    `ordered by payer key ${alice.id.slice(0, 12)}…, account user:018bcfe5-6800-7000-8000-0000000000a1, number 41`,
    '2 of 3 segments signed by workers, model demo, model file sha256 020202020202…; 2 saw the prompt to answer it',
    'completed; 12 prompt and 3 completion tokens, 2400 micro-credits of at most 100000',
    'assurance asked sampled, given none (no_verifier), evidence none',
    'the response is, byte for byte, the one that was sent',
  ])
})

test('of answers computed side by side it says who looked at whose and found what', () => {
  const [b, c] = [bob.id.slice(0, 12), carla.id.slice(0, 12)]
  const clean = `worker ${c}… looked at what ${b}… gave and found it clean, mean score 0.015300 logits`
  expect(verifyReceipt(sampleReceipt(sideBySide())).lines).toContainEqual(
    `side by side: 2 workers computed it; ${clean}; worker ${b}… looked at what ${c}… gave and found it clean, mean score 0.015300 logits`,
  )
  const undecided = {
    state: 'failed',
    price: 0n,
    transfer: null,
    assurance: { asked: 'required', given: 'none', reason: 'x' },
  } as const
  const hit = sideBySide([{}, { outcome: 'hit', why: 'mean', score: '1.200000' }], undecided)
  expect(verifyReceipt(sampleReceipt(hit)).lines).toContainEqual(
    `side by side: 2 workers computed it; ${clean}; worker ${b}… looked at what ${c}… gave and found that it is not what the model gives (mean, mean score 1.200000 logits)`,
  )
  const same = {
    ...sideBySide([]),
    workers: [{}, sampleWorkerStatement(bob, { worker: Buffer.from(carla.id, 'hex') })] as const,
  }
  expect(verifyReceipt(sampleReceipt(same)).lines).toContainEqual(
    'side by side: 2 workers computed it and gave the same tokens',
  )
})

test('the pool can be pinned by key or by id', () => {
  for (const pin of [{ poolKey: pool.publicKey }, { poolId: pool.id }]) {
    expect(verifyReceipt(receipt, pin).lines[0]).toMatch(/as pinned$/)
  }
  for (const pin of [{ poolKey: bob.publicKey }, { poolId: bob.id }]) {
    expect(verifyReceipt(receipt, pin)).toMatchObject({ ok: false, problem: { code: 'wrong_pool' } })
  }
})

test('a custodial receipt says so', () => {
  const order = {
    custody: 'pool' as const,
    payer: pool.publicKey,
    seq: null,
    job: '018bcfe5-6800-7000-8000-000000000001',
  }
  const custodial = sampleReceipt({ order, orderSigner: pool })
  expect(verifyReceipt(custodial).lines).toContainEqual(expect.stringMatching(/^custodial: the pool itself signed/))
})

test('no byte of a receipt can be changed', { timeout: 120_000 }, () => {
  const survivors: number[] = []
  for (let at = 0; at < receipt.length; at += 1) {
    const before = receipt[at] ?? 0
    // another bit breaks most things; another letter keeps base64url text what it is, and is tried on every third byte
    for (const byte of at % 3 === 0 ? [before ^ 1, before === 0x41 ? 0x42 : 0x41] : [before ^ 1]) {
      const changed = Buffer.from(receipt)
      changed[at] = byte
      if (verifyReceipt(changed).ok) survivors.push(at)
    }
  }
  expect(survivors).toEqual([])
})

test('what a pool answers before there is a receipt is told as that, not as a receipt that somebody damaged', () => {
  const early = '{"object":"receipt","id":"01a226e4-978f-73ac-9280-4e7c50c7b5db","status":"pending"}'
  expect(verifyReceipt(Buffer.from(early))).toMatchObject({
    ok: false,
    problem: { code: 'malformed', sentence: expect.stringContaining('not the receipt yet') },
  })
})

test('no byte can be added, left out or put in twice', () => {
  const places = fc.nat(receipt.length - 1)
  const cut = (at: number, put: Buffer, skip: number) =>
    Buffer.concat([receipt.subarray(0, at), put, receipt.subarray(at + skip)])
  fc.assert(
    fc.property(places, fc.uint8Array({ minLength: 1, maxLength: 3 }), (at, put) => {
      expect(verifyReceipt(cut(at, Buffer.from(put), 0)).ok).toBe(false)
      expect(verifyReceipt(cut(at, Buffer.alloc(0), put.length)).ok).toBe(false)
    }),
    { numRuns: 300 },
  )
  expect(verifyReceipt(Buffer.concat([receipt, Buffer.from('\n')]))).toMatchObject({
    problem: { code: 'not_canonical' },
  })
})

test('no byte of the response can be changed', () => {
  for (let at = 0; at < sampleResponse.length; at += 1) {
    const response = Buffer.from(sampleResponse)
    response[at] = (response[at] ?? 0) ^ 1
    expect(verifyReceipt(receipt, { response })).toMatchObject({ problem: { code: 'response_mismatch' } })
  }
  expect(verifyReceipt(receipt, { response: Buffer.alloc(0) }).ok).toBe(false)
})

describe('a streamed response', () => {
  const hash = streamHash(sampleStream)
  if (!hash) throw new Error('the sample is a stream')
  const streamed = sampleReceipt({ statement: { response: hash } })

  test('is compared by its data lines', () => {
    expect(verifyReceipt(streamed, { response: sampleStream }).ok).toBe(true)
    const withoutComment = sampleStream.subarray(sampleStream.indexOf('data:'))
    expect(verifyReceipt(streamed, { response: withoutComment }).ok).toBe(true)
  })

  test('cannot be changed in any byte outside its comment', () => {
    for (let at = sampleStream.indexOf('data:'); at < sampleStream.length; at += 1) {
      for (const byte of [1, 0x3a, 0x0a, 0x0d, 0x64, 0x20]) {
        const response = Buffer.from(sampleStream)
        if (response[at] === byte) continue
        response[at] = byte
        expect(verifyReceipt(streamed, { response }).ok, `byte ${at} as ${byte}`).toBe(false)
      }
    }
  })
})

test.each(edits)('a receipt written anew with %s is refused as %s', (_, code, change) => {
  expect(verifyReceipt(rewritten(change))).toMatchObject({ ok: false, problem: { code } })
})

const hash = Buffer.alloc(32, 0xee)

test.each(lies)('a pool that signs %s is caught by its own receipt (%s)', (_, code, changes) => {
  expect(verifyReceipt(sampleReceipt(changes))).toMatchObject({ ok: false, problem: { code } })
})

test('a receipt of a stand-in says whom it stands in for', () => {
  const verdict = verifyReceipt(sampleReceipt({ statement: { asked: 'huge' } }))
  expect(verdict.ok).toBe(true)
  expect(verdict.lines.join()).toMatch(/model demo in place of huge, which was asked for and nobody offered/)
  expect(verifyReceipt(sampleReceipt({ statement: { asked: 'demo' } }))).toMatchObject({
    ok: false,
    problem: { code: 'statement_mismatch', sentence: 'The pool states that a model stood in for itself.' },
  })
})

test('a response that was never given is not taken for one', () => {
  const none = sampleReceipt({ statement: { response: null } })
  expect(verifyReceipt(none).ok).toBe(true)
  expect(verifyReceipt(none, { response: sampleResponse })).toMatchObject({ problem: { code: 'response_mismatch' } })
})

test('later verdicts are read when the pool signed them for this receipt, and refused otherwise', () => {
  const parts = sampleParts()
  const leaf = leafHash(receiptLeafData(parts.workers, parts.statement))
  const message = {
    job: '018bcfe5-6800-7000-8000-000000000001',
    receipt: leaf,
    check: 'replay',
    reason: 'sampled',
    verifier: null,
    outcome: 'clean' as const,
    score: null,
    epoch: 1,
    at: 2,
  }
  const build = (signer: typeof pool, changes: object) =>
    buildReceipt({ ...parts, verdicts: [encodeSigned(signAlone(signer, 'verdict/1', { ...message, ...changes }))] })
  expect(verifyReceipt(build(pool, {})).lines).toContainEqual(
    expect.stringMatching(/looked at it again and found it clean/),
  )
  expect(verifyReceipt(build(bob, {}))).toMatchObject({ problem: { code: 'verdict_invalid' } })
  expect(verifyReceipt(build(pool, { receipt: hash }))).toMatchObject({ problem: { code: 'verdict_invalid' } })
})

test('the checkpoint of another pool does not carry this receipt, and a log of one leaf does', () => {
  const parts = sampleParts({ leaves: 2 })
  const root = leafHash(receiptLeafData(parts.workers, parts.statement))
  const log = (signer: typeof pool) => ({
    index: 0,
    path: [],
    checkpoint: signCheckpoint({ generation: 1, size: 1, root }, signer),
  })
  expect(verifyReceipt(buildReceipt({ ...parts, log: log(pool) })).ok).toBe(true)
  expect(verifyReceipt(buildReceipt({ ...parts, log: log(bob) }))).toMatchObject({
    problem: { code: 'checkpoint_invalid' },
  })
})

test('no bytes make the verifier throw', () => {
  fc.assert(fc.property(fc.uint8Array(), (bytes) => !verifyReceipt(Buffer.from(bytes)).ok))
  fc.assert(fc.property(fc.json(), (text) => !verifyReceipt(Buffer.from(text)).ok))
})
