/** Limits of the ledger. Repeated in docs/reference/limits.md, kept by a test. */
export const ledgerLimits = {
  /** One transfer or hold, micro-credits: a thousand million credits. Four thousand such grants fit into 64 bits. */
  amountMax: 1_000_000_000_000_000n,
  /**
   * What one token may cost, micro-credits: then the dearest request (16 choices of 16,777,216 tokens, a body of 4 MiB) stays
   * below `amountMax`.
   */
  tokenPriceMax: 3_000_000n,
  /** Who is paid by one transfer: a worker for each segment of each choice, and the three of the pool's side. */
  legsMax: 128,
  /** From taking a hold to its expiry: the longest deadline of a job and its minute of grace fit many times. */
  holdMsMax: 7 * 86_400_000,
  /** Tokens of one hold or charge. */
  tokensMax: 1_000_000_000,
  /** Signed bytes that authorise a transfer; a grant has about 300. */
  authorisationBytesMax: 4_096,
  /** Rows of one page of a history, of holds, of balances. */
  pageRowsMax: 1_000,
  /** Rows read at once by an audit or an export. */
  scanRowsMax: 2_000,
  /** Accounts and budgets a pool remembers between flushes, some 300 bytes each; beyond, it forgets all and begins anew. */
  rowsKeptMax: 100_000,
  /** How old the price list in memory may be. A new price counts within a second, also in other pool processes. */
  pricesFreshMs: 1_000,
  /** Held earnings are looked through so often. */
  releaseLookMs: 60_000,
  /** What is left of a slash is spent and burnt so long after it: no answer of that time can be looked at any more. */
  slashKeptMs: 25 * 3_600_000,
  /** Slashes or refunds read at once; convictions are rare. */
  takenRowsMax: 10_000,
  /** Times a move is planned anew because its source was paid from meanwhile. */
  moveAttemptsMax: 5,
} as const
