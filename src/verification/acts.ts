/** What an act is about. */
export interface ActCase {
  /** Of this act. Doing the same id twice is doing it once. */
  readonly id: string
  readonly workerId: string
  readonly model: string
  /** Check or tribunal that it follows from: the log holds its verdict. */
  readonly because: string
}

/**
 * What follows from a decision, done by whoever keeps money and keys. Each call either has done it for good, or throws
 * and is tried again; after a crash it may come a second time with the same {@link ActCase.id}.
 */
export interface Acts {
  /** Earnings of this worker wait; it is not told. */
  pauseReleases(about: ActCase): Promise<void>
  resumeReleases(about: ActCase): Promise<void>
  /** No new work, and no earnings until a tribunal has voted. */
  freeze(about: ActCase): Promise<void>
  /** Held earnings and stake are taken. */
  slash(about: ActCase): Promise<void>
  /** What these jobs cost goes back to who paid, once for each job. Comes again for jobs that a later check finds false. */
  refundUsers(about: ActCase & { readonly jobs: readonly string[] }): Promise<void>
  /** A granted appeal (`because`): what was taken from the worker and its operator goes back. */
  payBack(about: ActCase): Promise<void>
  /** No worker of its operator is admitted any longer. */
  blockOperator(about: ActCase): Promise<void>
}
