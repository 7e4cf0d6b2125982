import { expect, test } from 'vitest'
import type { TransferRow } from '#ledger'
import { PoolKeys } from '#log'
import { decodeSigned, encode, encodeSigned, SignatureChecker } from '#protocol'
import type { MutualLookOnRecord } from '#verification'
import {
  alice,
  bob,
  carla,
  pool,
  type SampleChanges,
  sampleOrder,
  sampleParts,
  sampleTime,
  signAlone,
} from '../testkit/receipt-sample.ts'
import { judgeOrder, judgeReceipt } from './audit-jobs.ts'
import type { SettledRow, SettledSegment } from './judge-job-row.ts'

/** What a pool wrote down and logged, so that no hash betrays it: only what it says can be wrong. */
const jobId = '018bcfe5-6800-7000-8000-000000000001'
const facts = { keys: new PoolKeys(pool.publicKey), checker: new SignatureChecker() }
const account = sampleOrder().account
const transfer: TransferRow = {
  id: '018bcfe5-6800-7000-8000-000000000002',
  phase: 'posted',
  kind: 'charge',
  from: account,
  amount: 2_400n,
  to: [
    { account: `held:${bob.id}`, amount: 1_440n },
    { account: 'pool', amount: 720n },
    { account: 'treasury', amount: 240n },
  ],
  hold: jobId,
  expiresAt: null,
  key: null,
  tokens: 15,
  at: sampleTime,
  authorisation: null,
}
const hold: TransferRow = {
  ...transfer,
  id: jobId,
  phase: 'pending',
  amount: 100_000n,
  to: [],
  hold: null,
  key: 'laptop',
  expiresAt: sampleTime + 120_000,
}

function orderRow(changes?: SampleChanges['order'], signer = alice) {
  const signed = signAlone(signer, 'order/1', sampleOrder(changes))
  const { payer, seq } = signed.message
  return { jobId, hash: signed.hash, wire: encodeSigned(signed), payer, seq, sampling: null }
}

const job: SettledRow = {
  state: 'completed',
  kind: 'chat',
  keyId: 'laptop',
  model: 'demo',
  digest: '02'.repeat(32),
  acceptedAt: sampleTime,
  deadlineAt: sampleTime + 60_000,
  endedAt: sampleTime + 1_500,
  promptTokens: 12,
  // one more was relayed by whoever did not sign
  completionTokens: 4,
}
const segment: SettledSegment = {
  choice: 0,
  attempt: 1,
  workerId: bob.id,
  digest: job.digest,
  pieces: 2,
  promptClaim: 12,
  completionClaim: 2,
  signed: true,
}
const lost: SettledSegment = {
  ...segment,
  attempt: 0,
  workerId: carla.id,
  pieces: 1,
  promptClaim: null,
  completionClaim: null,
  signed: false,
}
const second: SettledSegment = { ...segment, choice: 1, attempt: 0, workerId: carla.id, pieces: 1 }
const segments = [lost, segment, second]

interface Around {
  readonly resolution?: Partial<TransferRow>
  readonly job?: Partial<SettledRow>
  readonly segments?: readonly SettledSegment[]
  readonly looks?: readonly MutualLookOnRecord[]
}

function receipt(changes: SampleChanges = {}, around: Around = {}) {
  const { order: wire, workers, statement } = sampleParts(changes)
  const decoded = decodeSigned(wire, 'order/1')
  if (!decoded.ok) throw new Error(decoded.problem)
  const { hash, message } = decoded.signed
  const order = { jobId, hash, wire, payer: message.payer, seq: message.seq, sampling: null }
  const surroundings = {
    order,
    hold,
    resolution: { ...transfer, ...around.resolution },
    job: { ...job, ...around.job },
    segments: around.segments ?? segments,
    looks: around.looks ?? [],
  }
  return judgeReceipt({ jobId, workers: encode(workers), statement }, surroundings, facts)
}

test('an order that its payer signed, and the hold taken for it, are as they should be', () => {
  expect(judgeOrder(orderRow(), hold, facts)).toBeUndefined()
})

test.each([
  ['by somebody else', judgeOrder(orderRow({}, bob), hold, facts), /is not signed by its payer/],
  ['for another pool', judgeOrder(orderRow({ pool: Buffer.alloc(32) }), hold, facts), /names another pool/],
  ['for another job', judgeOrder(orderRow({ job: transfer.id }), hold, facts), /is for another job/],
  [
    'custodial, by another key',
    judgeOrder(orderRow({ custody: 'pool', seq: null, job: jobId }), hold, facts),
    /another key than the pool/,
  ],
  ['without a hold', judgeOrder(orderRow(), undefined, facts), /has no hold/],
  [
    'with a hold on another account',
    judgeOrder(orderRow(), { ...hold, from: 'user:x' }, facts),
    /the hold is on user:x/,
  ],
  ['with more held than it allows', judgeOrder(orderRow(), { ...hold, amount: 100_001n }, facts), /100001 were held/],
  ['whose row names another number', judgeOrder({ ...orderRow(), seq: 5 }, hold, facts), /another payer or number/],
  ['whose hash is another', judgeOrder({ ...orderRow(), hash: Buffer.alloc(32) }, hold, facts), /not the one its hash/],
])('an order %s is said to be so', (_, said, expected) => {
  expect(said).toMatch(expected)
})

test('a receipt whose price was paid to those who signed is as it should be', () => {
  expect(receipt()).toBeUndefined()
})

test.each([
  ['bills less than its tokens cost', receipt({ statement: { price: 2_399n } }), /is not its tokens at its prices/],
  [
    'bills more than was ordered',
    receipt({ order: { cap: 2_000n } }),
    /does not hold\. The price of 2400 .* above the order's cap of 2000/,
  ],
  ['is for another job', receipt({ statement: { job: transfer.id } }), /is about another job/],
  [
    'ended otherwise than the job',
    receipt({}, { job: { state: 'failed' } }),
    /says completed, and the job's row failed/,
  ],
  [
    'was paid otherwise',
    receipt({}, { resolution: { amount: 2_401n } }),
    /bills 2400 micro-credits, and transfer .* over 2401/,
  ],
  ['was voided', receipt({}, { resolution: { phase: 'voided', amount: 0n } }), /is voided over 0/],
  [
    'was paid by another transfer',
    receipt({}, { resolution: { id: jobId } }),
    /names transfer .*02; .*01 resolved the hold/,
  ],
  ['counts other tokens', receipt({}, { resolution: { tokens: 14 } }), /counts other tokens/],
  [
    'bills nothing, and was paid',
    receipt({ statement: { transfer: null, price: 0n, usage: { prompt: 0, completion: 0 } } }),
    /bills nothing, and transfer .* moved 2400/,
  ],
  [
    'paid a worker who did not sign',
    receipt({}, { resolution: { to: [{ account: `held:${alice.id}`, amount: 2_400n }] } }),
    /has no signed segment for held:/,
  ],
  [
    'paid the reserve what workers earned',
    receipt({}, { resolution: { to: [{ account: 'refund_reserve', amount: 2_400n }] } }),
    /has no signed segment for refund_reserve/,
  ],
])('a receipt that %s is said to be so', (_, said, expected) => {
  expect(said).toMatch(expected)
})

test.each([
  ['kind', { kind: 'embedding' }, /another kind than the job's row/],
  ['model', { model: 'big' }, /another model than/],
  ['model file', { digest: null }, /another model file than/],
  ['time', { acceptedAt: sampleTime - 1 }, /another time of acceptance than/],
  ['end', { endedAt: sampleTime }, /another end than/],
  ['key', { keyId: 'phone' }, /another key than/],
  ['deadline', { deadlineAt: sampleTime }, /another deadline than/],
])("the row of a job with another %s than its receipt's is found", (_, change, expected) => {
  expect(receipt({}, { job: change })).toMatch(expected)
})

test('a row may count what nobody signed, and nothing else', () => {
  const vouched = [segment, second].map(({ choice, attempt, workerId, pieces, signed }) => ({
    choice,
    attempt,
    worker: Buffer.from(workerId, 'hex'),
    tokens: pieces,
    signed,
  }))
  const counting = (completionTokens: number) =>
    receipt({ statement: { segments: vouched } }, { segments: [segment, second], job: { completionTokens } })
  expect(counting(3)).toBeUndefined()
  expect(counting(4)).toMatch(/bills 12 and 3 tokens, and the job's row counts 12 and 4/)
})

test.each([
  ['gone', [lost, second], /names attempt 0\/1, which is gone/],
  ["another worker's", [lost, { ...segment, workerId: alice.id }, second], /another worker of attempt 0\/1/],
  ['longer', [lost, { ...segment, pieces: 3 }, second], /another count of tokens of attempt 0\/1/],
  ['not signed', [lost, { ...segment, signed: false }, second], /another signature of attempt 0\/1/],
  ['claiming more', [lost, { ...segment, completionClaim: 3 }, second], /another claim of tokens of attempt 0\/1/],
  [
    'claiming more of the prompt',
    [lost, segment, { ...second, promptClaim: 13 }],
    /another claim of prompt tokens of attempt 1\/0/,
  ],
  ['of another model file', [lost, { ...segment, digest: 'ab' }, second], /another model file of attempt 0\/1/],
  ['one too many', [...segments, { ...lost, attempt: 2 }], /does not name attempt 0\/2, which gave something/],
])('an attempt that is %s is found by its receipt', (_, rows, expected) => {
  expect(receipt({}, { segments: rows })).toMatch(expected)
})

test('an attempt that gave nothing is on no receipt', () => {
  const tried = { ...lost, attempt: 2, workerId: alice.id, pieces: 0 }
  expect(receipt({}, { segments: [...segments, tried] })).toBeUndefined()
})
