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
  /** Known pools; a stranger beyond is told so. Each costs some hundred bytes in memory. */
  peersMax: 10_000,
  /** How soon a change that no notification told of is seen. */
  peersPollMs: 1_000,
  /** Requests of one known pool, once its signature holds. */
  requestsPerMinute: 60,
  /** Handshakes of strangers from one /24 or /56, before their key is looked at. */
  strangersPerMinute: 20,
  /** Signatures that do not hold, from one /24 or /56; beyond, none from there is looked at. */
  failuresPerMinute: 120,
  /** Networks that are counted at once. */
  sourcesMax: 4_096,
  /** Texts a pool says of itself: its name. */
  nameCharsMax: 200,
  /** Capabilities a pool says it has. */
  capabilitiesMax: 200,
  /** An answer from the file system whether the kill switch is on; later counts as on. */
  switchMsMax: 500,
  /** How often the kill switch is looked at while something runs that it must end. */
  switchPollMs: 500,
  /** One call to another pool, from the look at its name to the last byte. */
  callMsMax: 10_000,
  /** A whole answer of another pool. */
  answerBytesMax: 1_048_576,
  /** Pools that are called back at once after they shook hands; one more is not, and may ask again. */
  reciprocationsMax: 64,
  /** How often peers with trust 2 and more are looked at, and the kill switch lets. */
  heartbeatMs: 30_000,
  /** A peer that was not reached for so long is unreachable. */
  unreachableMs: 120_000,
  /** Peers that are looked at at once. */
  heartbeatsAtOnceMax: 16,
  /** What came of calls is counted for so long before it is forgotten. */
  recordWindowMs: 86_400_000,
  /** Wrong answers of a peer within that time that lower its trust by one level. */
  mismatchesMax: 3,
  /** Failures that do, when they outnumber successes. */
  failuresMax: 50,
} as const
