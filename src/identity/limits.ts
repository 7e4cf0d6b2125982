/** Limits of identity. Repeated in docs/reference/limits.md, kept by a test. */
export const identityLimits = {
  /** An unused invite. A day is enough to carry it to another machine, and short for one that was lost. */
  inviteValidMs: 24 * 3_600_000,
  /** A worker's key unless the invite says otherwise. */
  workerExpiresInMs: 30 * 24 * 3_600_000,
  /** The longest life of a worker's key: a year; then somebody looks at it again. */
  workerExpiresInMsMax: 366 * 24 * 3_600_000,
  /** Names of users, operators and keys, in characters. */
  nameCharsMax: 200,
  /** Address of a pool inside an invite, in bytes. */
  inviteUrlBytesMax: 512,
  /** API keys remembered: ten thousand active users, about 6 MB. */
  cachedKeysMax: 10_000,
  /** Changes are asked for this often, beside NOTIFY, which a proxy or a half-open connection may swallow. */
  changesPollMs: 1_000,
  /** A transaction's changes count from its statement, not its commit: ask this far back. */
  changesOverlapMs: 10_000,
  /** Changes of one answer; more follow with the next. */
  changesMax: 10_000,
  /** Rows of one page. */
  pageRowsMax: 1_000,
  /** Blocks of workers, and of addresses, that stand at once: every newcomer's address is compared with all networks, 1 µs each. */
  blocksMax: 1_000,
  /** Why somebody was blocked, in characters. */
  becauseCharsMax: 200,
  /** Keys that one step of a rotation revokes: four statements each, in one transaction. */
  rotatedKeysMax: 200,
  /** A worker or an admin key may be named by the beginning of its id, this many hex digits at least. */
  idPrefixCharsMin: 6,
} as const
