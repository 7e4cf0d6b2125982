import { epochMs as hourMs } from '#protocol'

/** Numbers of verified work. Repeated in docs/reference/limits.md, kept by a test. */
export const verificationLimits = {
  /** Statements are sampled with a key that lives so long: one UTC hour. */
  epochMs: hourMs,
  /** Bytes of an epoch's key; as long as the hash of its HMAC (RFC 2104 section 3). */
  epochKeyBytes: 32,
  /** Epochs whose keys are committed to beside the current one. */
  epochsAhead: 2,
  /** How often it is looked whether an epoch must be opened or told. */
  epochLookMs: 10_000,
  /** A key is told so long after the end of its epoch. */
  disclosureMs: 25 * hourMs,
  /** Strangers that read what was told at the same time, and bytes they are sent in one piece. */
  disclosuresAtOnceMax: 4,
  disclosurePieceBytes: 32_768,
  /** Check rates in force are renewed so often, and said to be still in use. */
  ratesRenewMs: 2_000,
  ratesUsedMs: hourMs,
  /** Rates that were in force are kept at least so long, and until every hour that names them is told. */
  ratesKeptMs: 72 * hourMs,
  /** The newest tables of check rates, which an audit makes again from their rows. */
  auditedRatesMax: 1_000,
  /** Checks a pool process makes at once. */
  checksAtOnceMax: 4,
  /** Owed checks are looked for so often. */
  checkLookMs: 500,
  /** A verifier's time to commit, and the time after which another process takes a check over. */
  lookMsMax: 120_000,
  checkLeaseMs: 300_000,
  /** A check that nobody could make for so long is waived. */
  checkWaitMs: 900_000,
  /** Transcripts are destroyed so long after the answer: the time that earnings are held. */
  transcriptMs: 24 * hourMs,
  /** Kept answers whose keys are sealed anew with one statement, when the storage key is rotated: some hundred kilobytes. */
  resealedAtOnce: 2_000,
  /** Tokens of an answer at which a verifier looks; of a longer one so many are picked. */
  checkedPositionsMax: 4_096,
  /** Of an answer that came from an upstream so many are picked, and so many likely tokens are told of each. */
  prefixPositionsMax: 16,
  prefixLikelyMax: 20,
  /** Odds against an honest answer of an upstream at which it is a hit, where it was drawn by chance. */
  prefixOdds: 10_000,
  /** Answers that a tribunal looks at. */
  exhibitsMax: 3,
  /** Of all answers, those at which the pool's own engine looks once more, parts per million. */
  referencePpm: 2_000,
  /** What a pick chooses from. Beyond it the rejection of a word would no longer be a rarity. */
  pickFromMax: 4_294_967_296,
  /** A newcomer's checks in a row without exception. */
  probationChecks: 20,
  /** Afterwards its rate is so many to each clean check it has. 20 would check 5.1 % of the first 20,000 requests, 18 checks 4.9 %. */
  earnedRateChecks: 18,
  /** Requests a newcomer may have at once, until those checks are over. */
  newcomerRunsMax: 2,
  /** Lowest check rates, parts per million: the default, `strict` and `required`. */
  sampledPpmMin: 30_000,
  strictPpmMin: 100_000,
  requiredPpmMin: 1_000_000,
  /** Verifiers who look once more before a frozen worker is convicted or cleared. */
  tribunalVotes: 3,
  /** One operator makes at most one in so many of a worker's checks, as long as there are so many others. */
  verifierOperatorsMin: 3,
  /** Verifiers remembered as those whose hits raised a worker's charts; the oldest are forgotten first. */
  accusersMax: 16,
  /** The most that one position adds to a score: one edited token of sixteen moves the mean by 0.19, below its threshold. */
  positionScoreMax: 3,
  /** Mean score of an answer above which it is a hit, lowest and highest; a pair of classes that needs more is not compared. */
  meanThresholdMin: 0.25,
  meanThresholdMax: 0.5,
  /** Score of one position above which the answer is a hit, at least; and at least twice what honest runs reached. */
  positionThresholdMin: 2,
  /** Honest runs before a pair of kernel classes has thresholds of its own: the highest of 2,995 lies above the 99.9 % quantile with 95 % confidence. */
  calibrationRunsMin: 3_000,
  /** Runs that are learnt from, the newest ones, and how long they are kept. */
  calibrationRunsMax: 20_000,
  calibrationKeptMs: 2_592_000_000,
  /** Operators whose runs are left out in turn. Thresholds are computed again after so long; of so many pairs they are remembered. */
  calibrationOperatorsMax: 8,
  calibrationFreshMs: 60_000,
  calibrationPairsMax: 1_000,
  /** Confidence of every bound that is stated. */
  confidence: 0.95,
  /** What a check is expected to see of a cheater's false answers where earnings to hold are computed. */
  sensitivity: 0.9,
  /** What a worker is expected to save of the price by not computing an answer, and to keep of it by computing it. */
  saving: 0.8,
  margin: 0.2,
  /** Donors of one quorum. */
  quorumMax: 64,
  /** Outcomes, positions or picks in one question of `lichen conformance`. */
  questionItemsMax: 100_000,
  /** Of all checks, transcripts that are known to be bad, and as many known to be good, parts per million. */
  knownBadPpm: 100_000,
  knownGoodPpm: 100_000,
  /** Earnings that are held of each worker, in prices of a request. */
  heldPrices: 200,
  /** Workers that come together are measured together, so long after the first. */
  kernelGatherMs: 2_000,
  /** Who is due to be measured is looked at so often. */
  kernelSweepMs: 1_000,
  /** A calibration text, in letters at random: some 500 tokens. Builds may agree on the first 130. */
  kernelTextChars: 1_200,
  /** A worker is measured again after so long on average, at random between half and one and a half of it. */
  kernelAgainMsMean: 21_600_000,
  /** First pause after a measurement that failed; it doubles up to the time above. */
  kernelRetryMsMin: 60_000,
  /** 500 tokens on a machine that computes five of a prompt in a second, behind another check. */
  kernelMeasureMsMax: 240_000,
  /** Workers in one round beside one of each class, and classes in it: the largest. */
  kernelRoundMax: 32,
  kernelClassesMax: 8,
  /** A worker that comes with the same file more often than this within the time above is measured later each time, from the first pause on. */
  kernelComingsMax: 8,
  /** Pairs of worker and file of which that is remembered. */
  kernelComersMax: 100_000,
  /** Names of classes that are kept of one model file, and how many of them one class is compared with in a round. */
  kernelNamesMax: 32,
  kernelProofsMax: 4,
  /** A known answer is sent at random within the time in which so many checks begin, at most so long; so many wait at once. */
  knownWaitChecksMax: 64,
  knownWaitMsMax: 21_600_000,
  knownWaitingMax: 256,
  /** Appeals of one worker, ever. */
  appealsMax: 10,
  /** Convicted workers that are looked at when an operator may be let in again. */
  convictedReadMax: 10_000,
  /** From a verifier's commitment to the reveal, always: what the pool writes meanwhile must not show. */
  revealAfterMs: 100,
} as const
