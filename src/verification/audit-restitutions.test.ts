import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { identityFromSeed, sha256 } from '#crypto'
import { encodeMessage, encodeSigned, type Move, signBatch } from '#protocol'
import { type GrantedAppeal, judgeRestitutions, type MovedOnRecord } from './audit-restitutions.ts'

const pool = identityFromSeed(Buffer.alloc(32, 7))
const workerId = 'a'.repeat(64)
const appeal: GrantedAppeal = { id: randomUUID(), workerId, paid: true, leaf: 10 }

function moved(leaf: number, change: Partial<Move> & Pick<Move, 'kind' | 'from' | 'to' | 'amount'>): MovedOnRecord {
  const [id, worker] = [randomUUID(), Buffer.from(workerId, 'hex')]
  const move: Move = { pool: sha256(pool.publicKey), id, worker, job: null, because: 'tribunal 1', at: 1, ...change }
  const bytes = encodeMessage('move/1', move)
  const [signature] = signBatch(pool, [{ type: 'move/1', bytes }])
  if (!signature) throw new Error('a batch of one has one signature')
  return { id, authorisation: encodeSigned({ bytes, signature }), leaf }
}

const slashed = (amount: bigint, leaf = 3, from = `held:${workerId}`) =>
  moved(leaf, { kind: 'slash', from, to: 'refund_reserve', amount })
const back = (amount: bigint, change: Partial<Move> = {}) =>
  moved(20, {
    kind: 'restitution',
    from: 'refund_reserve',
    to: `worker:${workerId}`,
    amount,
    because: appeal.id,
    ...change,
  })

test('what was taken in parts and went back in parts is right, of earnings and of the stake', () => {
  const taken = [slashed(70n), slashed(30n, 4), slashed(50n, 5, 'stake:op')]
  const debt = back(40n, { from: 'debt' })
  expect(judgeRestitutions([...taken, back(60n), debt, back(50n, { to: 'stake:op' })], [appeal])).toBeUndefined()
})

test('a micro-credit too many or too few is found, and so is money to somebody else', () => {
  const judge = (...of: readonly MovedOnRecord[]) => judgeRestitutions(of, [appeal])
  expect(judge(slashed(100n), back(101n))).toMatch(/more than was taken: 101 of 100 micro-credits/)
  expect(judge(slashed(100n), back(99n))).toMatch(/only 99 of 100 micro-credits went back/)
  expect(judge(slashed(100n))).toMatch(/only 0 of 100/)
  expect(judge(slashed(100n), back(100n, { to: `worker:${'b'.repeat(64)}` }))).toMatch(/more than was taken: 100 of 0/)
  expect(judge(slashed(100n), back(100n), back(1n, { to: 'stake:op' }))).toMatch(/more than was taken: 1 of 0/)
})

test('a restitution that names no granted appeal of its worker is found', () => {
  expect(judgeRestitutions([slashed(5n), back(5n)], [])).toMatch(/no granted appeal/)
  expect(judgeRestitutions([slashed(5n), back(5n)], [{ ...appeal, workerId: 'b'.repeat(64) }])).toMatch(
    /no granted appeal/,
  )
})

test('what was taken after the appeal, or is due and not yet carried out, may still be gone', () => {
  expect(judgeRestitutions([slashed(5n), back(5n), slashed(9n, 30)], [appeal])).toBeUndefined()
  expect(judgeRestitutions([slashed(5n)], [{ ...appeal, paid: false }])).toBeUndefined()
})
