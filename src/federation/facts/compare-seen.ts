import { z } from 'zod'
import { type PublicKeyHandle, sha256, verifySignature } from '#crypto'
import { isGenerationSigned, type PoolKeys, parseGenerationStatement } from '#log'
import { openCheckpoint, openSuccession } from '#protocol'
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
  /** What an admin signed when this generation began. */
  readonly statement: (generation: number) => Promise<{ readonly key: string; readonly note: string } | undefined>
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
  const left = await leavesLeft(own, Math.min(own.generation, ...ours.map(({ generation }) => generation)))
  for (const { note, generation, size, root } of ours.toSorted((a, b) => a.size - b.size)) {
    const here = await own.rootAt(size)
    const is = { generation, size, checkpoint: note, root: here?.toString('base64') ?? null }
    if (generation > own.generation) return { says: 'rollback', ...is }
    const kept = left.get(generation)
    if (kept === undefined) return { says: 'fork', ...is }
    if (size > kept) {
      if (generation === own.generation) return { says: 'rollback', ...is }
      counts.lost++
    } else if (here?.equals(root) === true) {
      counts.held++
      counts.upTo = size
    } else return { says: here ? 'fork' : 'rollback', ...is }
  }
  return { says: 'holds', ...counts }
}

/** How many leaves of each generation, down to `oldest`, are in the log now; none where no admin signed for the next one. */
async function leavesLeft(own: OwnLog, oldest: number): Promise<Map<number, number>> {
  const left = new Map([[own.generation, own.size]])
  let kept = own.size
  for (let next = own.generation; next > oldest; next--) {
    const found = await own.statement(next)
    const handed = own.keys.earlier.find(({ lastGeneration }) => lastGeneration + 1 === next)
    const succession = handed && openSuccession(handed.note)
    if (succession?.ok) {
      kept = Math.min(kept, succession.succession.last.size)
      left.set(next - 1, kept)
      continue
    }
    const signed = found && parseGenerationStatement(found.note)
    // under the key of its time: a loss stays signed for after the key was rotated
    const poolId = sha256(own.keys.ofGeneration(next)).toString('hex')
    if (!signed || signed.poolId !== poolId || signed.generation !== next) break
    if (!isGenerationSigned(found.note, signed, Buffer.from(found.key, 'hex'))) break
    kept = Math.min(kept, signed.size)
    left.set(next - 1, kept)
  }
  return left
}
