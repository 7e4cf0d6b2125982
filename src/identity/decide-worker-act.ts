import type { Refusal } from '#protocol'
import type { WorkerRecord } from './worker-records.ts'

/** What an admin asks of a worker's key. */
export type WorkerWish =
  | { readonly act: 'approve' | 'revoke' }
  | { readonly act: 'renew'; readonly expiresInMs: number }

/** What it becomes; `unchanged` when it already is so, which is no act and not recorded. */
export type WorkerDecision =
  | { readonly ok: true; readonly unchanged: true }
  | {
      readonly ok: true
      readonly unchanged?: never
      readonly standing: 'approved' | 'revoked'
      readonly expiresAt: number
    }
  | { readonly ok: false; readonly refusal: Refusal }

const conflict = (message: string, fix: string): WorkerDecision => ({
  ok: false,
  refusal: { code: 'conflict', message, fix },
})

/**
 * Decides; touches no clock and no table.
 *
 *   pending ──approve──▶ approved ──revoke──▶ revoked
 *      └──────revoke────────┼──────────────────▲ │
 *                           ◀─────renew──────────┘   (an expired key is renewed, too)
 */
export function decideWorkerAct(wish: WorkerWish, worker: WorkerRecord, nowMs: number): WorkerDecision {
  const { standing, expiresAt } = worker
  const name = worker.id.slice(0, 12)
  switch (wish.act) {
    case 'approve':
      if (standing === 'revoked') {
        return conflict(`Worker ${name} was revoked.`, `Renew its key: \`lichen workers renew ${name}\`.`)
      }
      if (expiresAt <= nowMs) {
        return conflict(`The key of worker ${name} has expired.`, `Renew it: \`lichen workers renew ${name}\`.`)
      }
      return standing === 'approved' ? { ok: true, unchanged: true } : { ok: true, standing: 'approved', expiresAt }
    case 'renew':
      if (standing === 'pending' && expiresAt > nowMs) {
        return conflict(`Worker ${name} waits for approval.`, `Approve it: \`lichen workers approve ${name}\`.`)
      }
      return { ok: true, standing: 'approved', expiresAt: nowMs + wish.expiresInMs }
    case 'revoke':
      return standing === 'revoked' ? { ok: true, unchanged: true } : { ok: true, standing: 'revoked', expiresAt }
  }
}
