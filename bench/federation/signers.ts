import { type Identity, identityFromSeed, sha256 } from '#crypto'

/** Pools that sign, of each version: one may ask 60 times a minute. */
export const signersEach = 100

export const signerOf = (version: 1 | 2, n: number): Identity =>
  identityFromSeed(sha256(Buffer.from(`bench signer ${version} ${n}`)))

/** A pool under whose id others flood. */
export const besieged: Identity = signerOf(2, signersEach)

/** A pool whose trust was taken back. */
export const revokedSigner: Identity = signerOf(2, signersEach + 1)
