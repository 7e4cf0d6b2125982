import { z } from 'zod'
import type { PoolId } from '#protocol'
import { factLimits } from '../limits.ts'
import { type SeenCheckpoint, seenSchema } from './compare-seen.ts'
import type { Send } from './reconcile.ts'
import { seenPath } from './witness.ts'

const answerSchema = z.object({ seen: z.array(seenSchema).max(factLimits.seenPageMax), more: z.boolean() })

export type Asked =
  | { readonly ok: true; readonly seen: readonly SeenCheckpoint[] }
  | { readonly ok: false; readonly problem: string }

/** All checkpoints of this pool that a witness remembers, the newest first; it is asked page by page. */
export async function askSeen(peer: PoolId, send: Send, signal: AbortSignal): Promise<Asked> {
  const seen: SeenCheckpoint[] = []
  while (seen.length <= factLimits.witnessedMax) {
    const answer = await send(peer, seenPath, { skip: seen.length }, signal)
    if (!answer.ok) return { ok: false, problem: answer.message }
    const read = answerSchema.safeParse(answer.body)
    if (!read.success) return { ok: false, problem: 'Its answer is none.' }
    seen.push(...read.data.seen)
    if (!read.data.more || read.data.seen.length === 0) return { ok: true, seen }
  }
  return { ok: false, problem: 'Its answer has no end.' }
}
