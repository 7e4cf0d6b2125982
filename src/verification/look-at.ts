import { sha256 } from '#crypto'
import { deadlineSignal, type Runtime } from '#runtime'
import type { Sql } from '#storage'
import type { Candidate } from './choose-verifiers.ts'
import { judgeLook, type Look } from './judge-look.ts'
import { verificationLimits } from './limits.ts'
import { pickSome, type Sample } from './sampling.ts'
import type { KeptAnswer } from './transcript.ts'
import type { VerifierIndex } from './verifier-index.ts'
import type { Verifiers } from './verifiers.ts'

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
  /** Told when the verifier has committed, and when it has revealed. */
  readonly onStage?: (stage: 'committed' | 'revealed') => Promise<void>
}

/**
 * Has one verifier look at an answer: it commits, then reveals, and what it says is judged and recorded. Rejects when the
 * verifier goes, refuses or is late; then nothing was said.
 */
export async function lookAt(tools: LookTools, wish: LookWish, stop: AbortSignal): Promise<Look> {
  const { sql, runtime, verifiers, index } = tools
  const { checkId, purpose, by, answer, sample } = wish
  const { body, tokens } = answer
  using deadline = deadlineSignal(
    runtime,
    2 * verificationLimits.lookMsMax,
    new Error('the verifier took too long'),
    stop,
  )
  const run = verifiers.check(
    by.worker,
    {
      kind: answer.kind,
      model: index.nameFor(by.worker, answer.digest ?? '') ?? answer.model,
      digest: answer.digest,
      choice: answer.choice,
      seed: answer.seed,
      maxTokens: answer.maxTokens,
      contextTokens: answer.contextTokens,
      replay: 'prefill',
      positions: positionsOf(tokens.length, sample),
      top: 0,
      deadlineMs: verificationLimits.lookMsMax,
      body,
      tokens,
    },
    deadline.signal,
  )
  const { wire } = await run.committed
  await wish.onStage?.('committed')
  const { evidence, bytes } = await run.reveal()
  await wish.onStage?.('revealed')
  const look = judgeLook(evidence, answer)
  await sql`
    insert into looks (id, check_id, purpose, verifier, operator, commitment, evidence, says, why, score, at)
    values (${runtime.uuid()}, ${checkId}, ${purpose}, ${by.worker}, ${by.operator}, ${wire}, ${sha256(bytes)}, ${look.says},
            ${look.why}, ${look.score}, ${runtime.now()}::timestamptz)`
  return look
}

/** All positions where they are not too many, else as many as are allowed, picked by the epoch's key. */
function positionsOf(tokens: number, sample: Sample): number[] | null {
  const { checkedPositionsMax: count } = verificationLimits
  if (tokens <= count) return null
  return pickSome({ ...sample, label: 'position', n: tokens, count }).sort((a, b) => a - b)
}
