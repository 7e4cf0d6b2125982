import { z } from 'zod'
import { type PublicKeyHandle, verifySignature } from '#crypto'
import type { GenerationNote, PoolKeys } from '#log'
import { openCheckpoint } from '#protocol'
import { leavesLeft, readBeginnings } from './generations.ts'
import { cosignatureBytes } from './witness.ts'

export const seenSchema = z.object({
  checkpoint: z.string().max(1_000),
  /** Unix seconds. */
  time: z.int().min(0),
  cosignature: z.base64().length(88),
})

/** A checkpoint of this pool that a witness has signed. */
export type SeenCheckpoint = z.infer<typeof seenSchema>

/** This pool's log as it stands. */
export interface OwnLog {
  /** Its keys, those of before as well. */
  readonly keys: PoolKeys
  readonly generation: number
  /** Leaves. */
  readonly size: number
  /** Root of the first leaves; undefined: there are fewer. */
  readonly rootAt: (size: number) => Promise<Buffer | undefined>
  /** What began its generations, the newest first. */
  readonly statements: readonly GenerationNote[]
}

export type Compared =
  | {
      readonly says: 'holds'
      /** Checkpoints that are in the log as it stands. */
      readonly held: number
      /** Leaves of the largest of them. */
      readonly upTo: number
      /** Checkpoints of leaves that an admin has signed for as lost. */
      readonly lost: number
      /** Checkpoints this pool's key did not sign: they prove nothing. */
      readonly foreign: number
      /** Checkpoints under which the witness's signature does not hold; this pool's does, so they count. */
      readonly unvouched: number
    }
  | {
      /** `fork`: other leaves than were shown; `rollback`: fewer, and nobody signed for the loss. */
      readonly says: 'fork' | 'rollback'
      readonly generation: number
      readonly size: number
      /** Signed by this pool, and seen by the witness. */
      readonly checkpoint: string
      /** Root of as many leaves here, in base64; null: there are fewer. */
      readonly root: string | null
    }

/** Looks for every checkpoint a witness has seen in the log as it stands; the smallest that is not in it is told. */
export async function compareSeen(
  seen: readonly SeenCheckpoint[],
  own: OwnLog,
  witness?: PublicKeyHandle,
): Promise<Compared> {
  const counts = { held: 0, upTo: 0, lost: 0, foreign: 0, unvouched: 0 }
  const ours = []
  for (const { checkpoint: note, time, cosignature } of seen) {
    const opened = own.keys.all.map((key) => openCheckpoint(note, key)).find(({ ok }) => ok)
    if (!opened?.ok) {
      counts.foreign++
      continue
    }
    ours.push({ note, ...opened.checkpoint })
    const signature = Buffer.from(cosignature, 'base64')
    if (witness && !verifySignature(witness, cosignatureBytes(note, time), signature)) counts.unvouched++
  }
  const beginnings = readBeginnings(own.statements, { key: own.keys.current, generation: own.generation })
  for (const { note, generation, size, root } of ours.toSorted((a, b) => a.size - b.size)) {
    const here = size <= own.size ? await own.rootAt(size) : undefined
    const is = { generation, size, checkpoint: note, root: here?.toString('base64') ?? null }
    if (generation > own.generation) return { says: 'rollback', ...is }
    const kept = leavesLeft(beginnings, own.generation, generation)
    if (kept === undefined) return { says: 'fork', ...is }
    if (size > kept) counts.lost++
    else if (here?.equals(root) === true) {
      counts.held++
      counts.upTo = size
    } else return { says: here ? 'fork' : 'rollback', ...is }
  }
  return { says: 'holds', ...counts }
}
