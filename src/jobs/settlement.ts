import {
  type BudgetLeft,
  type HoldOp,
  type LedgerOp,
  type Leg,
  ledgerStage,
  splitBorrowed,
  splitCharge,
  transferLeaf,
} from '#ledger'
import type { Leaf } from '#log'
import {
  encodeByteStrings,
  encodeOwnMessage,
  encodeSigned,
  epochOf,
  orderLeafData,
  type PoolStatement,
  receiptLeafData,
} from '#protocol'
import { type Operation, type Part, part, type Stage } from '#storage'
import { type CheckIntake, mutualLookStage } from '#verification'
import type { Attempt } from './attempt.ts'
import { assuranceGiven, evidenceOf } from './evidence-grade.ts'
import { checksOf } from './given-answers.ts'
import type { Job } from './job.ts'
import { jobInsertStage, jobMoveStage, segmentStage } from './job-stages.ts'
import { jobsLimits } from './limits.ts'
import { orderStage, payerOrderStage, receiptStage } from './order-stages.ts'

/** What accepting and settling need besides the job. */
export interface Books {
  /** 32 raw bytes. */
  readonly poolId: Buffer
  readonly logStage: Stage<Leaf>
  uuid(): string
  /** Who decides what is checked; undefined: nothing is. */
  readonly checks?: CheckIntake | undefined
  /** The pool that stands behind a worker which is another pool, or this pool's bridge to one. */
  readonly peerOf?: ((workerId: string) => string | undefined) | undefined
}

/** What a job reserves; `tell` hears what is left. */
export function holdOf(job: Job, tell: (left: BudgetLeft) => void): HoldOp {
  const { terms } = job.ordered
  const { key } = job.request
  return {
    op: 'hold',
    id: job.id,
    account: key.account,
    amount: terms.cap,
    expiresAt: job.deadlineAt + jobsLimits.holdSlackMs,
    at: job.acceptedAt,
    budget: {
      key: key.id,
      total: key.budgetTotal,
      perDay: key.budgetPerDay,
      requestsPerMinute: key.requestsPerMinute,
      tokensPerMinute: key.tokensPerMinute,
      tokens: terms.promptTokens + terms.completionTokens,
    },
    onApplied: tell,
    onRefused: tell,
  }
}

/** What is written when a job is accepted: order, hold and job together, and their leaves. */
export function acceptance(job: Job, instance: string, { logStage }: Books, hold: HoldOp): Part[] {
  const { order } = job.ordered
  const { payer, seq, custody } = order.message
  const { opening: sampling = null, commitment } = job.sampling ?? {}
  const row = { jobId: job.id, hash: order.hash, wire: encodeSigned(order), payer, seq, sampling }
  return [
    part(ledgerStage, hold),
    custody === 'payer' ? part(payerOrderStage, row) : part(orderStage, row),
    part(jobInsertStage, job.acceptedRow(instance)),
    part(logStage, { kind: 'order', ref: job.id, data: orderLeafData(order.hash, commitment) }),
    part(logStage, { kind: 'transfer', ref: job.id, data: transferLeaf(hold) }),
  ]
}

/** Where a job is now, while it runs. */
export function progress(job: Job): Operation {
  return [part(jobMoveStage, job.row()), ...job.segmentRows().map((segment) => part(segmentStage, segment))]
}

/** What is written when a job is over: the price posted or the hold voided, its receipt, and their leaves. Built once: ids are minted here. */
export function settlement(job: Job, books: Books): Operation {
  const { logStage } = books
  const { prices } = job.ordered.terms
  const pays = job.state === 'completed' || job.state === 'cancelled'
  const billed = pays ? job.billed() : { promptTokens: 0, completionTokens: 0 }
  const price = BigInt(billed.promptTokens) * prices.prompt + BigInt(billed.completionTokens) * prices.completion
  const op = resolution(job, books, price, billed)
  const attempts = job.choices.flatMap((choice) => choice.attempts)
  const workers = attempts.flatMap(({ statement }) => (statement ? [statement.wire] : []))
  const stated = poolStatement(job, books, { price, billed, transfer: op.op === 'post' ? op.id : null })
  const statement = encodeOwnMessage('pool-statement/1', stated)
  return [
    part(ledgerStage, op),
    ...progress(job),
    part(receiptStage, { jobId: job.id, workers: encodeByteStrings(workers), statement }),
    part(logStage, { kind: 'receipt', ref: job.id, data: receiptLeafData(workers, statement) }),
    part(logStage, { kind: 'transfer', ref: op.id, data: transferLeaf(op) }),
    ...mutualLooks(job).map((look) => part(mutualLookStage, { ...look, id: books.uuid(), epoch: stated.epoch })),
    ...(books.checks ? checksOf(job, books.checks) : []),
  ]
}

type Billed = { readonly promptTokens: number; readonly completionTokens: number }

function resolution(job: Job, books: Books, amount: bigint, billed: Billed): LedgerOp & { op: 'post' | 'void' } {
  const at = job.endedAt ?? job.acceptedAt
  const id = books.uuid()
  if (amount === 0n) return { op: 'void', id, hold: job.id, at }
  const legs = legsOf(job, books, amount, billed)
  const tokens = billed.promptTokens + billed.completionTokens
  return { op: 'post', id, hold: job.id, amount, legs, tokens, kind: 'charge', at }
}

/** Whose the price is: of workers here, or of another pool for the part that it computed, which keeps its share for its own. */
function legsOf(job: Job, { peerOf }: Books, amount: bigint, billed: Billed): Leg[] {
  const paid = job.copies.flat(2).filter((attempt) => attempt.signed)
  const here = paid.filter(({ workerId }) => peerOf?.(workerId) === undefined)
  const segments = here.map((attempt) => ({ account: `held:${attempt.workerId}`, tokens: countedOf(attempt) }))
  const { lent } = job.request.key
  if (lent) return splitCharge({ amount, segments, lent: true })
  const borrowed = paid.flatMap((attempt) => {
    const peer = peerOf?.(attempt.workerId)
    // who computed alone computed the prompt too; of several, tokens tell who did what
    const counted = { promptTokens: 0, completionTokens: countedOf(attempt) }
    return peer === undefined ? [] : [{ account: `peer:${peer}`, ...(paid.length === 1 ? billed : counted) }]
  })
  if (borrowed.length === 0) return splitCharge({ amount, segments })
  return splitBorrowed({ amount, segments, borrowed, prices: job.ordered.terms.prices })
}

const countedOf = ({ pieces, claim }: Attempt) => Math.min(pieces, claim?.completionTokens ?? pieces)

function poolStatement(
  job: Job,
  { poolId: pool, checks }: Books,
  { price, billed, transfer }: { price: bigint; billed: Billed; transfer: string | null },
): PoolStatement {
  const { order, terms } = job.ordered
  const attempts = job.choices.flatMap((choice) =>
    choice.attempts.map((attempt) => ({ choice: choice.index, attempt })),
  )
  return {
    pool,
    job: job.id,
    order: order.hash,
    custody: order.message.custody,
    kind: order.message.kind,
    model: order.message.model,
    ...(job.request.asked === undefined ? {} : { asked: job.request.asked }),
    digest: typeof job.digest === 'string' ? Buffer.from(job.digest, 'hex') : null,
    state: finalState(job),
    statements: attempts.flatMap(({ attempt }) => (attempt.statement ? [attempt.statement.signed.hash] : [])),
    // Who gave nothing has seen the prompt all the same: that is what `exposure` says.
    segments: attempts
      .filter(({ attempt }) => attempt.gave)
      .map(({ choice, attempt }) => ({
        choice,
        attempt: attempt.n,
        worker: Buffer.from(attempt.workerId, 'hex'),
        tokens: attempt.pieces,
        signed: attempt.signed,
      })),
    response: job.response,
    usage: { prompt: billed.promptTokens, completion: billed.completionTokens },
    price,
    transfer,
    prices: terms.prices,
    exposure: [...job.exposure].map((id) => Buffer.from(id, 'hex')),
    assurance: job.state === 'completed' || !job.panels ? assuranceGiven(job, checks) : ungiven(job),
    evidence: evidenceOf(job, checks),
    ...statedLooks(job),
    commitment: order.message.commitment,
    epoch: epochOf(job.acceptedAt),
    acceptedAt: job.acceptedAt,
    endedAt: job.endedAt ?? job.acceptedAt,
  }
}

/** What workers found of each other's answers before one was shown; of those that the receipt names. */
function mutualLooks(job: Job) {
  const { id: jobId, request, panels = [] } = job
  return panels.flatMap(({ index: choice, looks }) =>
    looks.map((look) => ({ ...look, jobId, choice, model: request.model })),
  )
}

function statedLooks(job: Job): Pick<PoolStatement, 'checks'> {
  const looks = mutualLooks(job).map(({ choice, attempt, verifier, says: outcome, why, score }) => ({
    choice,
    attempt,
    reason: 'side_by_side' as const,
    verifier: Buffer.from(verifier, 'hex'),
    outcome,
    why,
    score: score === null ? null : score.toFixed(6),
  }))
  return looks.length > 0 ? { checks: looks } : {}
}

/** Answers that were to be compared, and were not shown. */
const ungiven = ({ assurance, code, state }: Job): PoolStatement['assurance'] => ({
  asked: assurance.asked,
  given: 'none',
  reason: code ?? state,
})

function finalState({ id, state }: Job): PoolStatement['state'] {
  if (state === 'queued' || state === 'leased' || state === 'streaming') throw new Error(`job ${id} is not over`)
  return state
}
