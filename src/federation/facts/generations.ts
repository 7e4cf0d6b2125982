import { sha256 } from '#crypto'
import { type GenerationNote, isGenerationSigned, parseGenerationStatement } from '#log'
import { openSuccession } from '#protocol'

/** How a generation of a log began: with a loss that an admin has signed for, or with another key, and then nothing is lost. */
export type Beginning =
  | {
      readonly how: 'loss'
      readonly generation: number
      /** Leaves that were left, and are the first ones of it. */
      readonly size: number
      /** Raw public key. That it is an admin's, the caller knows. */
      readonly signer: Buffer
    }
  | { readonly how: 'succession'; readonly generation: number }

/**
 * Reads what began the generations of a log, the newest first. `key`: that of the pool in the newest one; before a succession the key of
 * that time must have handed it on. Ends before the first note that is not due, or not signed.
 */
export function readBeginnings(
  notes: readonly GenerationNote[],
  { key, generation }: { readonly key: Buffer; readonly generation: number },
): readonly Beginning[] {
  const beginnings: Beginning[] = []
  let holder = key
  for (const { key: signer, note } of notes) {
    const found = readBeginning(note, Buffer.from(signer, 'hex'), holder)
    const before = beginnings.at(-1)
    const due = before ? before.generation - 1 : generation
    // what a restore has lost may hold whole generations with their beginnings
    const isDue = before?.how === 'loss' ? (found?.generation ?? 0) <= due : found?.generation === due
    if (!found || !isDue) break
    const { from, ...beginning } = found
    beginnings.push(beginning)
    holder = from
  }
  return beginnings
}

function readBeginning(note: string, signer: Buffer, holder: Buffer): (Beginning & { from: Buffer }) | undefined {
  const lost = parseGenerationStatement(note)
  if (lost) {
    const { poolId, generation, size } = lost
    const holds = poolId === sha256(holder).toString('hex') && isGenerationSigned(note, lost, signer)
    return holds ? { how: 'loss', generation, size, signer, from: holder } : undefined
  }
  const opened = openSuccession(note)
  if (!opened.ok || !opened.succession.to.equals(holder)) return undefined
  const { generation, from } = opened.succession
  return { how: 'succession', generation, from }
}

/**
 * How many leaves of an earlier generation must still be in the log: all of them, but for what was lost since. 0: the whole generation is
 * gone, for a backup from before it was restored. Undefined: nobody has signed for what lies between.
 */
export function leavesLeft(beginnings: readonly Beginning[], now: number, generation: number): number | undefined {
  if (generation === now) return Number.POSITIVE_INFINITY
  let left = Number.POSITIVE_INFINITY
  for (const [n, one] of beginnings.entries()) {
    if (one.how === 'loss') left = Math.min(left, one.size)
    const before = one.how === 'succession' ? one.generation - 1 : (beginnings[n + 1]?.generation ?? 1)
    if (generation === before) return left
    if (generation > before) return 0
  }
  return undefined
}
