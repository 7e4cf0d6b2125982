import { type Identity, identityFromSeed, sha256 } from '#crypto'

/** Pools that sign, of each version: one may ask 60 times a minute. */
export const signersEach = 100

export const signerOf = (version: 1 | 2, n: number): Identity =>
  identityFromSeed(sha256(Buffer.from(`bench signer ${version} ${n}`)))
