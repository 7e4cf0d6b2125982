/** Limits of choosing and queueing. Repeated in docs/reference/limits.md, kept by a test. */
export const schedulerLimits = {
  /** Conversation prefixes remembered with the worker that computed them: about 10 MiB; the oldest is forgotten. */
  affinityEntriesMax: 65_536,
  /** Bytes of a conversation that are hashed to recognise it. More would cost a large prompt milliseconds for a hint. */
  affinityBytesMax: 65_536,
  /** Lanes (model × needed features) kept ready; beyond it those without waiting runs are rebuilt when next asked for. */
  lanesMax: 4_096,
  /** Runs waiting in the whole pool, beyond those that free slots will take at once (setting). */
  queuedRunsMax: 1_024,
  /** The share of the queue that one API key may fill, so that it is never full for the others. */
  queuedRunsPerKeyShare: 0.75,
  /** One run in so many goes to a worker in probation, where one has room: it could never prove itself beside idle workers of good name, and all it answers is checked. A flood of newcomers gets no more than this together, unless the others are busy. */
  newcomerEvery: 8,
  /** Keys together may be ahead of their shares by this part of what all slots compute at once: a newcomer waits a quarter of an answer longer, and honest bursts are not punished. */
  aheadShare: 0.25,
  /** How often it is looked whether a tier lacks workers. */
  offersMs: 1_000,
  /** From one model that a worker is offered to the next. */
  offerCoolMs: 600_000,
  /** A worker that left while it fetched a model is awaited so long, before another one is asked. */
  offerAwayMs: 120_000,
  /** An offer that came to nothing for so long is withdrawn: its ticket ends then, too. */
  offerMsMax: 6 * 3_600_000,
  /** Models on offer at once, over all tiers: as many as are sent at once. */
  offersMax: 4,
} as const
