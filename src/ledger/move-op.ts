import { createHash } from 'node:crypto'
import { encodeMessage, encodeSigned, type Move, type Signer, signBatch } from '#protocol'
import type { TransferOp } from './ledger-op.ts'

/** What the pool's key signs moves with. */
export interface MoveSigner {
  /** 32 raw bytes. */
  readonly poolId: Buffer
  readonly signer: Signer
}

/** Transfers the pool itself asks for, signed together. */
export function signMoves({ poolId, signer }: MoveSigner, moves: readonly Omit<Move, 'pool'>[]): TransferOp[] {
  const messages = moves.map((move) => ({ ...move, pool: poolId }))
  const asked = messages.map((move) => ({ type: 'move/1' as const, bytes: encodeMessage('move/1', move) }))
  const signatures = signBatch(signer, asked)
  return messages.map(({ id, kind, from, to, amount, at }, n) => {
    const [bytes, signature] = [asked[n]?.bytes, signatures[n]]
    if (!bytes || !signature) throw new Error('a batch has one signature for each message')
    return { op: 'transfer', id, kind, from, to, amount, at, authorisation: encodeSigned({ bytes, signature }) }
  })
}

/**
 * The id of a transfer that is made once for a reason, however often it is tried: UUIDv8 (RFC 9562 §5.8) of
 * sha256(`lichen/move/1` ‖ parts, each with a 0 behind it).
 */
export function moveId(...parts: readonly string[]): string {
  const hash = createHash('sha256').update('lichen/move/1\0')
  for (const part of parts) hash.update(part).update('\0')
  const bytes = hash.digest().subarray(0, 16)
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x80
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80
  const hex = bytes.toString('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}
