/** Numbers of federation. Repeated in docs/reference/limits.md, kept by a test. */
export const federationLimits = {
  /** A signed message is fresh so long on either side of our clock. */
  freshnessMs: 60_000,
  /** A nonce is kept so long: a message stamped 60 s ahead of us stays fresh for 120 s. */
  nonceMemoryMs: 120_000,
  /** The body of a signed request. */
  bodyBytesMax: 1_048_576,
  /** Path and query of a signed request. */
  targetCharsMax: 2_048,
  /** Pools a lent job may have passed; one that arrives with so many is not taken. */
  hopMax: 2,
  /** Bytes that a version 1 peer may have us sign on `verify`: fewer than any envelope has. */
  challengeBytesMax: 64,
  /** The URL of a peer. */
  urlCharsMax: 512,
} as const
