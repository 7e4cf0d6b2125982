import { sha256 } from '#crypto'
import { deadlineSignal, type Runtime } from '#runtime'
import type { Sql } from '#storage'
import type { Candidate } from './choose-verifiers.ts'
import { judgeLook, type Look } from './judge-look.ts'
import { verificationLimits } from './limits.ts'
import { type MarginThresholds, marginDefaults } from './margin.ts'
import { pickSome, type Sample } from './sampling.ts'
import type { KeptAnswer } from './transcript.ts'
import type { VerifierIndex } from './verifier-index.ts'
import type { LookAsk, Verifiers } from './verifiers.ts'

/** Why an answer is looked at; the verifier is not told. */
export type LookPurpose = 'first' | 'second' | 'reference' | 'tribunal' | 'window' | 'known_good' | 'known_bad'

export interface LookTools {
  readonly sql: Sql
  readonly runtime: Runtime
  readonly verifiers: Verifiers
  readonly index: VerifierIndex
}

/** What is looked at, why, by whom. */
export interface LookWish {
  readonly checkId: string
  readonly purpose: LookPurpose
  readonly by: Candidate
  readonly answer: KeptAnswer
  readonly sample: Sample
  /** `isolated`: token by token on the same arithmetic, where every token must be the same. `prefill` unless given. */
  readonly replay?: 'prefill' | 'isolated'
  /** Of the two kernel classes; the defaults unless given. */
  readonly thresholds?: MarginThresholds
  /** Told when the verifier has committed, and when it has revealed. */
  readonly onStage?: (stage: 'committed' | 'revealed') => Promise<void>
}

/** Has one verifier look, and puts on record what it says. Rejects when it goes, refuses or is late; then nothing was said. */
export async function lookAt(tools: LookTools, wish: LookWish, stop: AbortSignal): Promise<Look> {
  const { sql, runtime } = tools
  const { checkId, purpose, by } = wish
  const { look, wire, bytes } = await lookThrough(tools, wish, stop)
  await sql`
    insert into looks (id, check_id, purpose, verifier, operator, commitment, evidence, says, why, score, at)
    values (${runtime.uuid()}, ${checkId}, ${purpose}, ${by.worker}, ${by.operator}, ${wire}, ${sha256(bytes)}, ${look.says},
            ${look.why}, ${look.score}, ${runtime.now()}::timestamptz)`
  return look
}

/** On the same arithmetic there is no noise. */
const exactly: MarginThresholds = { mean: 0, position: 0 }

/** The verifier commits, then reveals, and what it says is judged. `purpose` and `checkId` are not read. */
export async function lookThrough(
  { runtime, verifiers, index }: Omit<LookTools, 'sql'>,
  { by, answer, sample, replay = 'prefill', thresholds = marginDefaults, onStage }: LookWish,
  stop: AbortSignal,
): Promise<{ look: Look; wire: Buffer; bytes: Buffer }> {
  const { lookMsMax, revealAfterMs } = verificationLimits
  using deadline = deadlineSignal(runtime, 2 * lookMsMax, new Error('the verifier took too long'), stop)
  const model = index.nameFor(by.worker, answer.digest ?? '') ?? answer.model
  const run = verifiers.check(by.worker, lookAskOf(answer, model, sample, replay), deadline.signal)
  const { wire } = await run.committed
  await Promise.all([onStage?.('committed'), runtime.sleep(revealAfterMs, deadline.signal)])
  const { evidence, bytes } = await run.reveal()
  await onStage?.('revealed')
  const look = judgeLook(evidence, answer, replay === 'isolated' ? exactly : thresholds)
  return { look, wire, bytes }
}

/** The question, in which nothing but request and answer decides: a verifier must not see why it is asked. */
function lookAskOf(answer: KeptAnswer, model: string, sample: Sample, replay: LookAsk['replay']): LookAsk {
  const { kind, digest, choice, seed, maxTokens, contextTokens, body, tokens } = answer
  const deadlineMs = verificationLimits.lookMsMax
  const { checkedPositionsMax, prefixPositionsMax, prefixLikelyMax } = verificationLimits
  const isFile = digest !== null
  const positions = positionsOf(tokens.length, isFile ? checkedPositionsMax : prefixPositionsMax, sample)
  const how = { replay, positions, top: isFile ? 0 : prefixLikelyMax, deadlineMs }
  return { kind, model, digest, choice, seed, maxTokens, contextTokens, ...how, body, tokens }
}

/** All positions where they are not too many, else as many as are allowed, picked by the epoch's key. */
function positionsOf(tokens: number, count: number, sample: Sample): number[] | null {
  if (tokens <= count) return null
  return pickSome({ ...sample, label: 'position', n: tokens, count }).sort((a, b) => a - b)
}
