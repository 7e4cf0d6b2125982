import { expect, test } from 'vitest'
import { generateIdentity, identityFromSeed, sha256 } from '#crypto'
import {
  type Assignment,
  bodyCommitment,
  decodeSigned,
  encodeMessage,
  encodeSigned,
  type Order,
  SignatureChecker,
  signBatch,
} from '#protocol'
import { simulatedRuntime, testPool, testWorker, withPapers } from '#testkit'
import type { RunOrder } from '#workers'
import { PaperDesk } from './papers.ts'

const body = Buffer.from('{"model":"demo"}')
const order: Omit<RunOrder, 'papers'> = {
  kind: 'chat',
  model: 'demo',
  digest: 'ab'.repeat(32),
  choice: 0,
  seed: '0f'.repeat(32),
  maxTokens: 100,
  resume: [],
  deadlineMs: 60_000,
  body,
}

function desk(requirePayerSignature = false) {
  const runtime = simulatedRuntime(1)
  const papers = new PaperDesk(testWorker, runtime, { requirePayerSignature })
  const admit = (run: RunOrder, header: Partial<RunOrder> = {}, poolKey = testPool.publicKey) => {
    const { papers: own, body: bytes, ...fields } = { ...run, ...header }
    const dispatch = { ...fields, stream: 1, lease: 'l', credit: 0 }
    return papers.admit(dispatch, own, bytes, poolKey)
  }
  return { runtime, papers, admit, now: runtime.now() }
}

const refusal = (why: string) => ({
  ok: false,
  refusal: { code: 'assignment_refused', message: `The assignment ${why}.` },
})

test('a worker computes what its pool has assigned to it, once', () => {
  const { admit, now } = desk()
  const run = withPapers(order, { now })
  expect(admit(run)).toMatchObject({ ok: true })
  expect(admit(run)).toMatchObject(refusal('was honoured before'))
  expect(admit(withPapers(order, { now }))).toMatchObject({ ok: true })
})

test.each<[string, Partial<Assignment>]>([
  ['is for another worker', { worker: Buffer.alloc(32) }],
  ['names another pool', { pool: Buffer.alloc(32) }],
  ['has expired', { expires: 1 }],
  ['belongs to another hour', { epoch: 1 }],
  ['is for another model file', { digest: Buffer.alloc(32) }],
  ['is for another choice', { choice: 1 }],
  ['has another seed', { seed: Buffer.alloc(32) }],
  ['allows another number of tokens', { maxTokens: 5 }],
  ['commits to another request body', { commitment: bodyCommitment(Buffer.alloc(32), body) }],
  ['continues after another number of tokens', { prefixTokens: 3 }],
])('a worker refuses an assignment that %s', (why, wrong) => {
  const { admit, now } = desk()
  expect(admit(withPapers(order, { now, wrong }))).toMatchObject(refusal(why))
})

test('a worker refuses what another key has signed, and bytes that are none', () => {
  const { runtime, admit, now } = desk()
  const stranger = generateIdentity(runtime)
  const pool = Buffer.from(testPool.id, 'hex')
  expect(admit(withPapers(order, { now, pool: stranger, wrong: { pool } }))).toMatchObject(
    refusal('is not signed by this pool'),
  )
  const good = withPapers(order, { now })
  const cut = { ...good, papers: { ...good.papers, assignment: good.papers.assignment.subarray(1) } }
  expect(admit(cut)).toMatchObject({ ok: false, refusal: { code: 'assignment_refused' } })
})

test('a worker that demands the payer’s signature takes no order of the pool, and checks the payer’s', () => {
  const { admit, now } = desk(true)
  const payer = identityFromSeed(Buffer.alloc(32, 3))
  const wire = (custody: Order['custody'], signer = payer) => {
    const message: Order = {
      pool: Buffer.from(testPool.id, 'hex'),
      payer: payer.publicKey,
      custody,
      account: 'user:00000000-0000-7000-8000-000000000001',
      job: custody === 'pool' ? '00000000-0000-7000-8000-000000000001' : null,
      seq: custody === 'pool' ? null : 1,
      kind: 'chat',
      model: 'demo',
      digest: null,
      cap: 1n,
      prices: { prompt: 0n, completion: 0n },
      assurance: 'sampled',
      expires: now + 60_000,
      commitment: sha256(body),
    }
    const bytes = encodeMessage('order/1', message)
    const [signature] = signBatch(signer, [{ type: 'order/1', bytes }])
    if (!signature) throw new Error('a batch of one has one signature')
    return encodeSigned({ bytes, signature })
  }
  const withOrder = (bytes: Buffer | null) => {
    const read = bytes && decodeSigned(bytes, 'order/1')
    const hash = read?.ok ? read.signed.hash : sha256(body)
    const run = withPapers(order, { now, wrong: { order: hash } })
    return admit({ ...run, papers: { ...run.papers, order: bytes } })
  }
  const no = { ok: false, refusal: { code: 'payer_signature_required' } }
  expect(withOrder(null)).toMatchObject(no)
  expect(withOrder(wire('pool'))).toMatchObject(no)
  expect(withOrder(wire('payer', testPool))).toMatchObject(no)
  expect(withOrder(wire('payer'))).toMatchObject({ ok: true })
})

test('statements of one turn share a signature, and each is the worker’s word for its segment', async () => {
  const { papers, admit, now } = desk()
  const checker = new SignatureChecker()
  const statements = await Promise.all(
    Array.from({ length: 10 }, async (_, n) => {
      const verdict = admit(withPapers(order, { now }))
      if (!verdict.ok) throw new Error(verdict.refusal.message)
      const usage = { prompt: 3, completion: n }
      const sent = sha256(Buffer.from([n]))
      const wire = await papers.attest(verdict.assignment, {
        sent,
        tokens: n,
        usage,
        kernel: null,
        sampler: 'sampler/1',
        finish: 'stop',
      })
      const read = decodeSigned(wire, 'worker-statement/1')
      if (!read.ok) throw new Error(read.problem)
      expect(read.signed.message).toMatchObject({ assignment: verdict.assignment.hash, sent, usage })
      return read.signed
    }),
  )
  expect(statements.every(({ signature, hash }) => checker.verify(signature, hash))).toBe(true)
  expect(new Set(statements.map(({ signature }) => signature.sig.toString('hex'))).size).toBe(1)
})
