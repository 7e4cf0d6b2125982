import { describe, expect, test } from 'vitest'
import { leafHash, merkleRoot, sha256 } from '#crypto'
import {
  encodeSamplingOpening,
  epochCommitment,
  orderLeafData,
  rateLeafData,
  samplingCommitment,
  selects,
} from '#protocol'
import { type DisclosureLine, disclosureText } from './disclosure.ts'
import { epochLeaf, toldLeaf } from './epochs.ts'
import { judgePublished } from './judge-published.ts'

const epoch = 500_000
const key = Buffer.alloc(32, 7)
const commitment = epochCommitment(key)
const worker = 'ab'.repeat(32)
const rates = merkleRoot([leafHash(rateLeafData(Buffer.from(worker, 'hex'), 'moss', 100_000))])

/** An answer each, of which one in ten is to be checked, and all that are were. */
const receipts = Array.from({ length: 60 }, (_, n) => {
  const statementHash = sha256(Buffer.from(`statement ${n}`))
  const opening = encodeSamplingOpening({ epoch, key: commitment, rates, salt: Buffer.alloc(32, n) })
  const order = sha256(Buffer.from(`order ${n}`))
  const selected = selects({ epochKey: key, statementHash, qPpm: 100_000 })
  const statement = statementHash.toString('hex')
  const check = selected ? `check ${n}` : null
  return {
    leaf: leafHash(orderLeafData(order, samplingCommitment(opening))),
    line: {
      job: `job ${n}`,
      order: order.toString('hex'),
      opening: opening.toString('hex'),
      statements: [{ worker, model: 'moss', statement, q: 100_000, selected, check, waived: null }],
    },
  }
})

const picked = receipts.findIndex(({ line }) => line.statements[0]?.selected)
const head: DisclosureLine = {
  lichen: 'epoch_disclosure/1',
  epoch,
  key: key.toString('hex'),
  commitment: commitment.toString('hex'),
}
const honest: readonly DisclosureLine[] = [
  head,
  { rates: rates.toString('hex'), table: [[worker, 'moss', 100_000]] },
  ...receipts.map(({ line }) => line),
]
const other = leafHash(Buffer.from('something else'))
const orders = receipts.map(({ leaf }) => leaf)
const opens = leafHash(epochLeaf(epoch, commitment).data)
const tells = (lines: readonly DisclosureLine[]) =>
  leafHash(toldLeaf({ epoch, key, disclosure: sha256(...lines.map(disclosureText)) }).data)

async function* each<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items
}

const judged = (
  lines: readonly DisclosureLine[],
  leaves: readonly Buffer[] = [other, opens, ...orders, other, tells(lines)],
  root: Buffer = merkleRoot([...leaves]),
) => {
  const texts = lines.map((line) => disclosureText(line).subarray(0, -1))
  return judgePublished(epoch, each(texts), { size: leaves.length, root, leaves: () => each(leaves) })
}

test('a stranger finds every decision of an hour as its key says, and the log the one that was signed', async () => {
  const selected = receipts.filter(({ line }) => line.statements[0]?.selected).length
  expect(selected).toBeGreaterThan(0)
  const count = { receipts: 60, statements: 60, selected, checked: selected, waived: 0 }
  expect(await judged(honest)).toEqual({ ok: true, count })
})

describe('a stranger finds out that', () => {
  const without = honest.map((line) =>
    'job' in line && line.job === `job ${picked}`
      ? { ...line, statements: line.statements.map((one) => ({ ...one, check: null })) }
      : line,
  )
  const rows: [string, () => ReturnType<typeof judged>, string][] = [
    ['an answer that was to be checked was not', () => judged(without), 'no check and no waiver'],
    [
      'something else was told to it than to the log',
      () => judged(honest.slice(0, -1), [opens, ...orders, tells(honest)]),
      'not what the log says was told',
    ],
    [
      'the key was committed to only after an order',
      () => judged(honest, [...orders.slice(0, 1), opens, ...orders.slice(1), tells(honest)]),
      'only after the first order',
    ],
    [
      'the log never committed to the key',
      () => judged(honest, [...orders, tells(honest)]),
      'does not commit to the key',
    ],
    [
      'an order is told with another sampling than the log holds',
      () => judged(honest, [opens, ...orders.slice(1), other, tells(honest)]),
      'is not in the log',
    ],
    [
      'it is shown another log than the signed one',
      () => judged(honest, [opens, ...orders, tells(honest)], other),
      'not the one the pool has signed',
    ],
    [
      'another hour is told',
      () => judged([{ ...head, epoch: 7 } as DisclosureLine, ...honest.slice(1)]),
      'not about epoch',
    ],
    ['what is told is nonsense', () => judged([{ nonsense: true } as never]), 'cannot be read'],
    ['nothing is told', () => judged([]), 'no head'],
  ]
  test.each(rows)('%s', async (_, play, problem) => {
    expect(await play()).toEqual({ ok: false, problem: expect.stringContaining(problem) })
  })
})
