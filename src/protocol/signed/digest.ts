import { sha256 } from '#crypto'

/** Everything that is ever signed, by the name that separates its domain from the others. */
export const signedTypes = [
  'order/1',
  'assignment/1',
  'worker-statement/1',
  'commitment/1',
  'pool-statement/1',
  'verdict/1',
  'grant/1',
  'transfer/1',
  'move/1',
  'appeal/1',
] as const
export type SignedType = (typeof signedTypes)[number]

const domains = new Map(signedTypes.map((type) => [type, Buffer.from(`lichen-sig/1\n${type}\n`)]))

/** `sha256("lichen-sig/1\n" ‖ type ‖ "\n" ‖ bytes)`: the hash by which messages name each other, and what a batch signs. */
export function digestOf(type: SignedType, bytes: Buffer): Buffer {
  return sha256(domains.get(type) as Buffer, bytes) // one for every type
}
