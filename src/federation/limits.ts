/** Numbers of facts between pools and of witnesses. */
export const factLimits = {
  /** One fact with its signature: a slash carries the statements it is about. */
  factBytesMax: 16_384,
  nameCharsMax: 200,
  /** Facts of one author that fall into one millisecond. */
  stampCountMax: 65_535,
  /** A fact stamped further ahead of this pool's clock is refused. */
  aheadMsMax: 60_000,
  /** Facts of one author that are kept, replaced ones included. */
  factsPerAuthorMax: 10_000,
  /** A replaced or expired fact is kept so long, so that pools that were cut apart still see the chain. */
  replacedMs: 30 * 86_400_000,
  /** A name that was taken back is kept so long; a pool cut off for longer may bring it again. */
  takenBackMs: 180 * 86_400_000,
  /** Contradictions of one author that are written down. */
  faultsPerAuthorMax: 100,
  /** Facts that are refused of one peer: they are remembered so as not to be asked for again. */
  quarantineMax: 10_000,
  quarantineMs: 86_400_000,
  /** Facts looked at for one answer to a peer that asks what is new. */
  tailFactsMax: 2_000,
  /** Facts in one answer to a peer, before base64: with it the answer is below a megabyte. */
  roundBytesMax: 700_000,
  /** Round trips of one comparison with a peer; the rest comes the next time. */
  roundsMax: 64,
  /** Questions of one pool about facts that are answered at once. */
  roundsAtOnceMax: 3,
  /** Cells of a sketch that are asked for first; twice as many follow until `cellsDoubledMax`, then a quarter more each time. */
  cellsFirst: 32,
  cellsDoubledMax: 512,
  /** Cells in one answer (14 bytes each), and in all: enough for a difference of 300,000 facts. */
  cellsPerRoundMax: 49_152,
  cellsMax: 450_000,
  /** Facts asked for by their short ids in one round. */
  idsPerRoundMax: 2_000,
  /** Peers whose sketch is kept while they ask on: 40 bytes for each fact. */
  sketchesMax: 4,
  /** How often this pool compares its facts with each bonded peer, and says what has changed here. */
  exchangeMs: 30_000,
  /** And so long after the trust in a pool has changed. */
  soonMs: 1_000,
  /** One comparison with one peer. */
  exchangeMsMax: 300_000,
  /** What is said about one model changes at most so often, but for its price: workers come and go. */
  modelFactMs: 3_600_000,
  /** Open notices because of one peer; further ones are not written down. */
  noticesPerPeerMax: 1_000,
  noticesShownMax: 500,
  /** Generations of a log whose beginnings a witness is shown, the newest. */
  generationsShownMax: 64,
  /** Checkpoints of one pool that its witness remembers; the newest stay. */
  witnessedMax: 1_000,
  /** Of these, told to their pool in one answer. */
  seenPageMax: 500,
  /** A witness that has signed nothing newer for so long, although there is something, is silent. */
  witnessSilentMs: 600_000,
  /** Names that one look at the facts shows, and facts it reads for that. */
  viewMax: 10_000,
  viewRowsMax: 100_000,
} as const

/** Numbers of federation. Repeated in docs/reference/limits.md, kept by a test. */
export const federationLimits = {
  /** Keys a pool has had, as far as peers follow them. */
  successionsMax: 64,
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
  /** Lent jobs of one pool, by its trust from 0 to 4. */
  jobsPerMinute: [60, 60, 600, 3_000, 3_000],
  /** Rounds of reconciliation of one pool, by its trust. */
  factsPerMinute: [60, 60, 60, 3_000, 3_000],
  /** Handshakes of strangers from one /24 or /56, before their key is looked at; a long one counts for several. */
  strangersPerMinute: 20,
  /** Signatures that do not hold, from one /24 or /56; beyond, none from there is looked at. */
  failuresPerMinute: 120,
  /** The same under the id of one known pool, from networks where that pool has not proved itself. */
  forgeriesPerMinute: 120,
  /** The same under the ids of all known pools together, and as many again of strangers: what forgers from everywhere can make a pool compute, a third of a second a minute each. */
  forgeriesPerMinuteInAll: 1_200,
  /** A signature that does not hold counts once, and once more for each so many bytes of its body: they were read and hashed. */
  bytesPerFailure: 65_536,
  /** Networks where one pool has proved itself that are remembered. */
  networksPerPeerMax: 8,
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
  /** A peer that a call has not reached is looked for again at first, and at last, after so long. */
  lookAgainMsMin: 1_000,
  lookAgainMsMax: 8_000,
  /** A peer that takes no jobs of this pool is not asked again for so long. */
  refusedPauseMs: 2_000,
  /** Peers that are looked at at once. */
  heartbeatsAtOnceMax: 16,
  /** What came of calls is counted for so long before it is forgotten. */
  recordWindowMs: 86_400_000,
  /** Wrong answers of a peer within that time that lower its trust by one level. */
  mismatchesMax: 3,
  /** Failures that do, when they outnumber successes. */
  failuresMax: 50,
  /** A reading of the switches in the database; later counts as none. */
  switchReadMsMax: 1_000,
  /** Switches that were not read for so long are unknown, and federation is off. */
  switchAgeMsMax: 3_000,
  /** The body of an admin request: it is read before its signature is looked at. */
  adminBodyBytesMax: 16_384,
  /** Admin requests of one pool that wait for a human. */
  pendingRequestsMax: 10,
  /** How long a human has to decide. */
  requestLifeMs: 86_400_000,
  /** How long the asker waits for a callback beyond that: the other side may be cut off. */
  callbackGraceMs: 7 * 86_400_000,
  /** Between two resets for the same pool, counted from the last that was approved. */
  resetCooldownMs: 6 * 3_600_000,
  /** Two pools that reset each other within this time are asked whether they mean it. */
  reciprocalMs: 30 * 86_400_000,
  /** Signatures of admins on one request or decision. */
  adminSignaturesMax: 8,
  /** An admin's signature counts so long before and after it was made. */
  adminSignatureAgeMs: 600_000,
  /** Events that one answer to another pool holds. */
  eventsMax: 500,
  /** How far back another pool may look. */
  eventsAgeMsMax: 7 * 86_400_000,
  /** First and longest pause before a callback is tried again; it doubles in between. */
  callbackPauseMsMin: 5_000,
  callbackPauseMsMax: 3_600_000,
  /** How often callbacks that are due, and requests that have expired, are looked for. */
  requestSweepMs: 2_000,
  /** Callbacks tried in one round. */
  callbacksPerRound: 16,
  /** A token of a user, as text. */
  tokenCharsMax: 4_096,
  /** How long a token is good at most. */
  tokenLifeMsMax: 86_400_000,
  /** A token may have been issued so far ahead of our clock. */
  tokenAheadMsMax: 60_000,
  /** Tokens that were taken back, kept until they would have ended; each is a fact for bonded pools. */
  revokedTokensMax: 1_000,
  /** Whoever decides waits so long for the first try of the callback. */
  callbackWaitMs: 3_000,
  /** The answer to a lent job begins within so long, with no tokens if there are none yet. */
  lentHeadMsMax: 10_000,
  /** Whoever computes a lent job says at least so often that it is there. */
  lentAliveMs: 15_000,
  /** A lent job that streams is cut when its executor is silent for so long. */
  lentSilenceMsMax: 60_000,
  /** What a lent answer may have: as much as a run of a worker. */
  lentAnswerBytesMax: 16_777_216,
  /** One event of a lent answer. */
  lentEventBytesMax: 262_144,
  /** Text of a lent answer that is held for a slow client; then the other pool waits. */
  lentHeldBytesMax: 262_144,
  /** A lent job of version 1 is answered whole, within so long. */
  v1JobMsMax: 60_000,
  /** Jobs in one statement between two pools, the newest. */
  statementJobsMax: 5_000,
} as const
