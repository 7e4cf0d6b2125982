import { canonicalize } from '#crypto'
import {
  alice,
  bob,
  carla,
  type pool,
  type SampleChanges,
  sampleParts,
  sampleReceipt,
  sampleTime,
  sideBySide,
} from './receipt-sample.ts'

const id = (of: typeof pool) => Buffer.from(of.id, 'hex')
/** The file as JSON, with what an editor might add or take away. */
interface ReceiptJson {
  lichen: string
  pool_key: string
  order: string | null
  worker: string[]
  statement: string
  verdicts?: string[]
  log: { index: number; path: string[]; checkpoint: string }
  view?: { statement: { price: string }; workers: unknown[]; note?: string }
  more?: number
}

/** The sample receipt, edited and written as canonical JSON again. */
export const rewritten = (change: (file: ReceiptJson) => void): Buffer => {
  const file = JSON.parse(sampleReceipt().toString())
  change(file)
  return canonicalize(file)
}
const viewOf = (file: ReceiptJson) => file.view as Required<ReceiptJson>['view'] // every sample has one

const other = sampleReceipt({ workers: [{ finish: 'length' }, {}], statement: { endedAt: sampleTime + 9 } })
const foreign = JSON.parse(other.toString()) as Required<ReceiptJson>

/** What somebody may do to a receipt file, and the code it is refused with. */
export const edits: [string, string, (file: ReceiptJson) => void][] = [
  [
    'an unknown member',
    'malformed',
    (file) => {
      file.more = 1
    },
  ],
  [
    'a member less',
    'malformed',
    (file) => {
      delete file.verdicts
    },
  ],
  [
    'another format',
    'malformed',
    (file) => {
      file.lichen = 'receipt/2'
    },
  ],
  [
    'padding',
    'malformed',
    (file) => {
      file.statement += '='
    },
  ],
  [
    'the other alphabet of base64',
    'malformed',
    (file) => {
      file.pool_key = Buffer.from(file.pool_key, 'base64url').toString('base64')
    },
  ],
  [
    'bits behind the last byte',
    'malformed',
    (file) => {
      file.pool_key = `${file.pool_key.slice(0, -1)}9`
    },
  ],
  [
    'no order',
    'malformed',
    (file) => {
      file.order = null
    },
  ],
  [
    'the key of another',
    'checkpoint_invalid',
    (file) => {
      file.pool_key = alice.publicKey.toString('base64url')
    },
  ],
  [
    'a key of small order',
    'key_refused',
    (file) => {
      file.pool_key = Buffer.from([1, ...Buffer.alloc(31)]).toString('base64url')
    },
  ],
  [
    'another checkpoint size',
    'checkpoint_invalid',
    (file) => {
      file.log.checkpoint = file.log.checkpoint.replace('\n6\n', '\n7\n')
    },
  ],
  [
    'a witness line',
    'checkpoint_invalid',
    (file) => {
      file.log.checkpoint += '— witness AAAAAAA=\n'
    },
  ],
  [
    'another place in the log',
    'not_in_log',
    (file) => {
      file.log.index = 3
    },
  ],
  [
    'a shorter path',
    'not_in_log',
    (file) => {
      file.log.path.pop()
    },
  ],
  [
    'a longer path',
    'not_in_log',
    (file) => {
      file.log.path.push(file.log.path[0] ?? '')
    },
  ],
  [
    'another statement of the same pool',
    'view_mismatch',
    (file) => {
      file.statement = foreign.statement
    },
  ],
  [
    'another statement and its view',
    'not_in_log',
    (file) => {
      file.statement = foreign.statement
      viewOf(file).statement = foreign.view.statement
    },
  ],
  [
    "other workers' statements and their view",
    'not_in_log',
    (file) => {
      file.worker = foreign.worker
      viewOf(file).workers = foreign.view.workers
    },
  ],
  [
    'a worker statement less',
    'not_in_log',
    (file) => {
      file.worker.pop()
      viewOf(file).workers.pop()
    },
  ],
  [
    'a cheaper view',
    'view_mismatch',
    (file) => {
      viewOf(file).statement.price = '1'
    },
  ],
  [
    'a view with a member more',
    'view_mismatch',
    (file) => {
      viewOf(file).note = 'checked'
    },
  ],
  [
    'no view',
    'malformed',
    (file) => {
      delete file.view
    },
  ],
]

const orderOf = (changes: SampleChanges) => sampleParts(changes).order
const hash = Buffer.alloc(32, 0xee)
const base = { choice: 0, attempt: 0 }

/** What a pool may sign, and the code it is refused with. All of these are well signed, by the pool too: a receipt says nothing that its own parts contradict. */
export const lies: [string, string, SampleChanges][] = [
  ['another order in the file', 'order_mismatch', { extra: { order: orderOf({ order: { seq: 42 } }) } }],
  ['an order signed by bob', 'order_invalid', { orderSigner: bob }],
  [
    'a custodian who is not the pool',
    'order_invalid',
    { order: { custody: 'pool', seq: null, job: '018bcfe5-6800-7000-8000-000000000001' } },
  ],
  ['an order for another pool', 'order_mismatch', { order: { pool: hash } }],
  ['an order for another job', 'order_mismatch', { order: { job: '018bcfe5-6800-7000-8000-000000000009' } }],
  ['an order for another model', 'order_mismatch', { order: { model: 'large' } }],
  ['an order for another model file', 'order_mismatch', { order: { digest: hash } }],
  ['another request body', 'order_mismatch', { statement: { commitment: hash } }],
  ['another assurance', 'order_mismatch', { statement: { assurance: { asked: 'none', given: 'none', reason: null } } }],
  ['an order accepted too late', 'order_mismatch', { statement: { acceptedAt: sampleTime + 600_000 } }],
  ["a worker's id that is not its key's", 'worker_signature_invalid', { workers: [{ worker: id(carla) }, {}] }],
  ['a statement of which the pool knows nothing', 'statement_mismatch', { statement: { statements: [hash, hash] } }],
  ['a statement missing', 'statement_mismatch', { statement: { statements: [] } }],
  [
    'the segment of another worker',
    'statement_mismatch',
    {
      statement: {
        segments: [
          { ...base, worker: id(bob), tokens: 2, signed: true },
          { ...base, worker: id(bob), tokens: 1, signed: true },
        ],
      },
    },
  ],
  ['more relayed than signed', 'statement_mismatch', { workers: [{ tokens: 1 }, {}] }],
  ['another model computed', 'statement_mismatch', { workers: [{}, { model: 'small' }] }],
  ['another model file computed', 'statement_mismatch', { workers: [{}, { digest: null }] }],
  ['a worker left out of the exposure', 'statement_mismatch', { statement: { exposure: [id(bob)] } }],
  ['higher prices', 'bill_mismatch', { statement: { prices: { prompt: 101n, completion: 400n } } }],
  ['a price above the cap', 'over_cap', { order: { cap: 2_399n } }],
  ['a price above the count', 'bill_mismatch', { statement: { price: 2_401n } }],
  ['a failure that was billed', 'bill_mismatch', { statement: { state: 'failed' } }],
  ['a price that nothing moved', 'bill_mismatch', { statement: { transfer: null } }],
  ['more completion tokens than claimed', 'bill_mismatch', { workers: [{ usage: { prompt: 12, completion: 1 } }, {}] }],
  ['a segment billed that nobody signed for', 'bill_mismatch', { statement: { usage: { prompt: 12, completion: 4 } } }],
  ['more prompt tokens than claimed', 'bill_mismatch', { statement: { usage: { prompt: 25, completion: 3 } } }],
  ['answers that differ as agreed, and no look at them', 'statement_mismatch', sideBySide([])],
  ['answers of which one was looked at as agreed', 'statement_mismatch', sideBySide([{}])],
  ['a hit as agreed', 'statement_mismatch', sideBySide([{}, { outcome: 'hit', why: 'mean' }])],
  ['silence as agreed', 'statement_mismatch', sideBySide([{}, { outcome: 'waived', why: 'late', score: null }])],
  ['a look at its own answer', 'statement_mismatch', sideBySide([{}, { verifier: id(carla) }])],
  ['a look by a stranger', 'statement_mismatch', sideBySide([{}, { verifier: id(alice) }])],
  ['a look at an attempt that gave nothing', 'statement_mismatch', sideBySide([{}, { attempt: 2 }])],
  [
    'a choice that one computed as agreed',
    'statement_mismatch',
    sideBySide([], {
      segments: [
        { ...base, worker: id(bob), tokens: 2, signed: true },
        { choice: 1, attempt: 0, worker: id(carla), tokens: 1, signed: true },
      ],
    }),
  ],
  [
    'answers that differ as the same',
    'statement_mismatch',
    sideBySide([{}, {}], { assurance: { asked: 'required', given: 'deterministic', reason: null } }),
  ],
  ['another pool in the statement', 'wrong_pool', { statement: { pool: id(bob) } }],
]
