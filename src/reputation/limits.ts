/** Numbers of reputation. Repeated in docs/reference/limits.md, kept by a test. */
export const reputationLimits = {
  /** Charts of one worker and model; each more makes all of them slower to the alarm, for they share one bound. */
  chartsMax: 8,
  /** False alarms in a million checks of honest workers, at most, all charts together (Ville's inequality). */
  falseAlarmsPerMillionMax: 1,
  /** Hits on an honest worker for each check that a second opinion confirmed. */
  honestHitRate: 0.001,
  /** The same where no second opinion can be had. */
  honestHitRateUnconfirmed: 0.01,
  /** Share of false answers that one check sees, for which the charts are drawn. */
  sensitivity: 0.95,
  /** What is left of an old check after each newer one: the last 200 count. */
  forgetting: 0.995,
  /** The part of the Beta posterior below the routing weight. */
  weightQuantile: 0.05,
  /** Checks that the word of a fully trusted foreign pool is worth, at most. */
  foreignChecksMax: 10,
  /** Faults of a worker, less one for each success: at so many its circuit opens. */
  faultPointsMax: 20,
  /** Points of a refused or broken answer. With one point off for each success, one fault in six is borne for ever. */
  errorPoints: 5,
  /** Points of an answer that came too late or stood still. */
  timeoutPoints: 5,
  /** Points of an answer that was not plausible. */
  qualityPoints: 10,
  /** First and longest time without work after the circuit opened; it doubles in between. */
  openMsMin: 10_000,
  openMsMax: 600_000,
  /** A session that breaks under many runs is one fault: those lost within this time count once. */
  lostOnceMs: 1_000,
  /** Successes in a row, one request at a time, that close the circuit again. */
  probesMin: 3,
} as const
