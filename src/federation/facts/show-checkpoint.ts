import { z } from 'zod'
import { verifySignature } from '#crypto'
import type { GenerationNote } from '#log'
import { openCheckpoint, type PoolId } from '#protocol'
import type { Database } from '#storage'
import { factLimits } from '../limits.ts'
import type { Peer } from '../peers.ts'
import type { Send } from './reconcile.ts'
import { cosignatureBytes, witnessPath } from './witness.ts'

/** This pool's log, as far as witnesses are shown it. */
export interface ShownLog {
  /** The newest checkpoint. */
  readonly checkpoint: () => Promise<string>
  readonly consistency: (from: number, to: number) => Promise<readonly Buffer[]>
  /** What began its generations, the newest first. */
  readonly statements: (max: number) => Promise<readonly GenerationNote[]>
}

export type ShowResult =
  | { readonly says: 'vouched'; readonly size: number }
  /** The witness has seen another history, or a longer one. */
  | { readonly says: 'accused'; readonly problem: string }
  | { readonly says: 'unreachable'; readonly problem: string }

const answerSchema = z.union([
  z.object({ time: z.int().min(0), cosignature: z.base64().length(88) }),
  z.object({ from: z.int().min(0) }),
  z.object({ problem: z.string().max(1_000) }),
])

/** Shows the newest checkpoint to one witness, and keeps its signature. Twice at most: it may say from where it wants the proof. */
export async function showCheckpoint(
  database: Database,
  log: ShownLog,
  peer: Pick<Peer, 'id' | 'key'>,
  publicKey: Buffer,
  send: Send,
  signal: AbortSignal,
): Promise<ShowResult> {
  const checkpoint = await log.checkpoint()
  const opened = openCheckpoint(checkpoint, publicKey)
  if (!opened.ok) throw new Error(opened.message)
  const { generation, size } = opened.checkpoint
  const statements = generation > 1 ? await log.statements(factLimits.generationsShownMax) : []
  let from = await lastShown(database, peer.id, size)
  for (let tries = 0; tries < 3; tries++) {
    const shorter = from > size
    const path = shorter ? [] : await log.consistency(from, size)
    const body = {
      checkpoint,
      statements,
      from: Math.min(from, size),
      newest: shorter,
      path: path.map((hash) => hash.toString('base64')),
    }
    const answer = await send(peer.id, witnessPath, body, signal)
    if (!answer.ok) return { says: 'unreachable', problem: answer.message }
    const read = answerSchema.safeParse(answer.body)
    if (!read.success) return { says: 'unreachable', problem: 'its answer is none' }
    if ('problem' in read.data) return { says: 'accused', problem: read.data.problem }
    if ('from' in read.data) {
      from = read.data.from
      continue
    }
    const { time, cosignature } = read.data
    const signature = Buffer.from(cosignature, 'base64')
    if (!verifySignature(peer.key, cosignatureBytes(checkpoint, time), signature))
      return { says: 'unreachable', problem: 'it did not sign what it was shown' }
    await database.sql`
      insert into vouchers (peer_id, generation, size, note, time, cosignature)
      values (${peer.id}, ${generation}, ${size}, ${checkpoint}, ${time}, ${signature})
      on conflict (peer_id) do update set generation = excluded.generation, size = excluded.size, note = excluded.note,
        time = excluded.time, cosignature = excluded.cosignature`
    return { says: 'vouched', size }
  }
  return { says: 'unreachable', problem: 'it asks for one proof after the other' }
}

/** Leaves it has vouched for, as far as this database knows. */
async function lastShown(database: Database, peer: PoolId, size: number): Promise<number> {
  const [row] = await database.sql<{ size: bigint }[]>`select size from vouchers where peer_id = ${peer}`
  return Math.min(Number(row?.size ?? 0n), size)
}
