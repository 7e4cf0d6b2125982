/** Limits of the log. Repeated in docs/reference/limits.md, kept by a test. */
export const logLimits = {
  /** How often new acts get their leaves and the copy of the checkpoint is renewed. Both are promised within 1 s. */
  keepMs: 400,
  /** Acts that get their leaves in one round; the rest follow in the next. */
  actsPerRoundMax: 256,
  /** An act may become visible so long after a later one: a statement's timeout and a transaction's, and room to spare. */
  actLatenessMs: 180_000,
  /** An act without a leaf for so long is a finding of the audit: the pool has been running and did not log it. */
  actUnloggedMsMax: 60_000,
  /** Full tiles that are stored in one round: 16,384 leaves. */
  tilesPerRoundMax: 64,
  /** Leaves the audit reads at once: 4,096 rows of about 100 bytes. */
  auditBatch: 4_096,
  /** Leaves whose rows an audit compares at once: some rows have 100 KB. */
  leavesPerPage: 512,
  /** Characters of an act's details as JSON. Names, amounts, ids; never content. */
  actDetailsCharsMax: 16_384,
  /** Proofs and tiles that strangers compute at once; beyond, `overloaded`. Half of the shared connections. */
  publicReadsMax: 4,
} as const
