import { expect, test } from 'vitest'
import type { WorkerId } from '#protocol'
import { decideWorkerAct, type WorkerWish } from './decide-worker-act.ts'
import type { WorkerRecord } from './worker-records.ts'

const now = 1_000_000
const worker = (standing: WorkerRecord['standing'], expiresAt: number): WorkerRecord => ({
  id: 'ab'.repeat(32) as WorkerId,
  operator: 'alice',
  standing,
  joinedAt: 0,
  expiresAt,
})
const approve: WorkerWish = { act: 'approve' }
const renew: WorkerWish = { act: 'renew', expiresInMs: 500 }
const revoke: WorkerWish = { act: 'revoke' }

test.each([
  [approve, 'pending', { ok: true, standing: 'approved', expiresAt: now + 1 }],
  [approve, 'approved', { ok: true, unchanged: true }],
  [approve, 'revoked', { ok: false }],
  [renew, 'pending', { ok: false }],
  [renew, 'approved', { ok: true, standing: 'approved', expiresAt: now + 500 }],
  [renew, 'revoked', { ok: true, standing: 'approved', expiresAt: now + 500 }],
  [revoke, 'pending', { ok: true, standing: 'revoked', expiresAt: now + 1 }],
  [revoke, 'approved', { ok: true, standing: 'revoked', expiresAt: now + 1 }],
  [revoke, 'revoked', { ok: true, unchanged: true }],
] as const)('to %o a key that is %s', (wish, standing, expected) => {
  expect(decideWorkerAct(wish, worker(standing, now + 1), now)).toMatchObject(expected)
})

test('an expired key is renewed, never approved, and the refusal says how', () => {
  for (const standing of ['pending', 'approved'] as const) {
    expect(decideWorkerAct(renew, worker(standing, now), now)).toMatchObject({ ok: true, standing: 'approved' })
    expect(decideWorkerAct(approve, worker(standing, now), now)).toMatchObject({
      refusal: { code: 'conflict', fix: expect.stringContaining('lichen workers renew abababababab') },
    })
  }
})
