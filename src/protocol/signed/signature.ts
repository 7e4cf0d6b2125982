import { leafHash, nodeHash } from '#crypto'
import { digestOf, type SignedType } from './digest.ts'

/**
 * One Ed25519 signature over `"lichen-sig/1\nbatch\n" ‖ root`, where root is the RFC 9162 tree over `leafHash(digestOf(type, bytes))` of all
 * messages that were signed in one go. A message signed alone is a batch of one: index 0, size 1, no path.
 */
export interface Signature {
  /** 32 raw bytes. */
  readonly key: Buffer
  /** 64 bytes. */
  readonly sig: Buffer
  /** Position of the message in the batch, 0 … size − 1. */
  readonly index: number
  readonly path: readonly Buffer[]
  readonly size: number
}

/** Who can sign: an identity of #crypto, or a key that lies elsewhere. */
export interface Signer {
  readonly publicKey: Buffer
  sign(bytes: Buffer): Buffer
}

/** What the Ed25519 signature of a batch is over. */
export function batchBytes(root: Buffer): Buffer {
  return Buffer.concat([Buffer.from('lichen-sig/1\nbatch\n'), root])
}

/** Signs all of them with one Ed25519 signature; the signatures come in the order of the items. */
export function signBatch(signer: Signer, items: readonly { type: SignedType; bytes: Buffer }[]): Signature[] {
  if (items.length === 0) return []
  const leaves = items.map(({ type, bytes }) => leafHash(digestOf(type, bytes)))
  const paths: Buffer[][] = leaves.map(() => [])
  const sig = signer.sign(batchBytes(growPaths(leaves, paths, 0, leaves.length)))
  return paths.map((path, index) => ({ key: signer.publicKey, sig, index, path, size: items.length }))
}

/** Root over the leaves from `start` to `end`; each of their paths grows by its sibling on every level. One hash per inner node. */
function growPaths(leaves: readonly Buffer[], paths: readonly Buffer[][], start: number, end: number): Buffer {
  if (end - start === 1) return leaves[start] as Buffer // called for ranges inside the leaves only
  const middle = start + 2 ** (31 - Math.clz32(end - start - 1))
  const left = growPaths(leaves, paths, start, middle)
  const right = growPaths(leaves, paths, middle, end)
  for (let at = start; at < end; at += 1) paths[at]?.push(at < middle ? right : left)
  return nodeHash(left, right)
}

/** The root that a path leads to (RFC 9162 §2.1.3.2); undefined when it is too long or too short for its place. */
export function rootOfPath(leaf: Buffer, { index, size, path }: Pick<Signature, 'index' | 'size' | 'path'>) {
  if (index >= size) return undefined
  let place = index
  let last = size - 1
  let hash = leaf
  for (const sibling of path) {
    if (last === 0) return undefined
    if (place % 2 === 1 || place === last) {
      hash = nodeHash(sibling, hash)
      while (place % 2 === 0 && place !== 0) {
        place /= 2
        last = Math.floor(last / 2)
      }
    } else hash = nodeHash(hash, sibling)
    place = Math.floor(place / 2)
    last = Math.floor(last / 2)
  }
  return last === 0 ? hash : undefined
}
