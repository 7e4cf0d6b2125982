/**
 * Crypto: keys, signatures, hashes and the one canonical JSON.
 *
 * Owns    Ed25519 identities and the acceptance policy for public keys, X25519, SHA-256 and its short HMAC, RFC 8785,
 *         the tree of RFC 9162.
 * Imports nothing. No clock, no dice of its own, no disk.
 * Always  a key from outside is accepted once, by one policy, before a signature under it means anything.
 */
export { acceptPublicKey } from './accept-public-key.ts'
export { canonicalize } from './canonicalize.ts'
export {
  generateIdentity,
  type Identity,
  identityFromSeed,
  importPublicKey,
  type PublicKeyHandle,
  verifySignature,
} from './identity.ts'
export {
  CompactTree,
  consistencyRanges,
  emptyRoot,
  inclusionPath,
  inclusionRanges,
  type LeafRange,
  leafHash,
  merkleRoot,
  nodeHash,
  verifyConsistency,
  verifyInclusion,
} from './merkle.ts'
export { sha256 } from './sha256.ts'
export { ShortHmac } from './short-hmac.ts'
export { type DhKey, dhKeyFromSeed, diffieHellman, generateDhKey, importDhPublicKey } from './x25519.ts'
