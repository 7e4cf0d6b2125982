import { sha256 } from '#crypto'
import { successorsOf } from '../succession.ts'
import type { CheckVerdict } from './messages.ts'
import type { ReceiptMessages } from './receipt-file.ts'
import { responseHash, streamHash } from './response-hash.ts'
import type { SignatureChecker } from './signature-checker.ts'

/** Why a receipt is not accepted. */
export type ReceiptProblemCode =
  | 'malformed'
  | 'not_canonical'
  | 'wrong_pool'
  | 'key_refused'
  | 'checkpoint_invalid'
  | 'not_in_log'
  | 'order_invalid'
  | 'order_mismatch'
  | 'worker_signature_invalid'
  | 'statement_mismatch'
  | 'over_cap'
  | 'bill_mismatch'
  | 'verdict_invalid'
  | 'sampling_invalid'
  | 'view_mismatch'
  | 'response_mismatch'
  | 'remote_invalid'

export interface ReceiptProblem {
  readonly code: ReceiptProblemCode
  readonly sentence: string
}

/** One part of a receipt: the problem found, or the line that says what fits. */
export type CheckResult = { readonly problem: ReceiptProblem } | { readonly line: string }

export const failed = (code: ReceiptProblemCode, sentence: string): CheckResult => ({ problem: { code, sentence } })
const fits = (line: string): CheckResult => ({ line })

/** Enough of an id to tell two apart. */
export const short = (id: Buffer) => `${id.toString('hex').slice(0, 12)}…`

interface Facts extends ReceiptMessages {
  readonly poolKey: Buffer
  readonly checker: SignatureChecker
}

/** Who ordered it, and that the receipt answers that order and no other. */
export function checkOrderOf({ order: signed, statement, poolKey, checker }: Facts): CheckResult {
  const { message: order, signature } = signed
  const custodial = order.custody === 'pool'
  if (custodial && !order.payer.equals(poolKey)) {
    return failed('order_invalid', 'The order names the pool as custodian, and another key than the pool signed it.')
  }
  if (!signature.key.equals(order.payer) || !checker.verify(signature, signed.hash)) {
    return failed('order_invalid', 'The signature of the order does not verify under the key of its payer.')
  }
  if (!statement.order.equals(signed.hash)) {
    return failed('order_mismatch', 'The pool states that it answered another order than the one in the receipt.')
  }
  const differing = orderDifference(order, statement)
  if (differing) return failed('order_mismatch', `The pool's statement and the order differ in ${differing}.`)
  return fits(
    custodial
      ? `custodial: the pool itself signed the order, for account ${order.account}`
      : `ordered by payer key ${short(sha256(order.payer))}, account ${order.account}, number ${order.seq}`,
  )
}

function orderDifference(order: ReceiptMessages['order']['message'], statement: ReceiptMessages['statement']) {
  const same = {
    'the pool': order.pool.equals(statement.pool),
    'who signs for the payer': order.custody === statement.custody,
    'the job': order.job === null || order.job === statement.job,
    'the kind of request': order.kind === statement.kind,
    'the model': order.model === statement.model,
    'the model file': order.digest === null || (statement.digest?.equals(order.digest) ?? false),
    'the request body': order.commitment.equals(statement.commitment),
    'the assurance asked for': order.assurance === statement.assurance.asked,
    'the time: it was accepted after the order expired': statement.acceptedAt < order.expires,
  }
  return Object.entries(same).find(([, equal]) => !equal)?.[0]
}

/** That every statement is signed by the worker it names and belongs to a segment of the job. */
export function checkWorkers({ workers, statement, checker }: Facts): CheckResult {
  const segments = statement.segments.filter(({ signed }) => signed)
  if (workers.length !== statement.statements.length || workers.length !== segments.length) {
    return failed(
      'statement_mismatch',
      'The receipt does not hold one statement for each segment that a worker signed.',
    )
  }
  for (const [at, { message, hash, signature }] of workers.entries()) {
    const segment = segments[at]
    const name = `The statement of worker ${short(message.worker)}`
    if (!message.worker.equals(sha256(signature.key)) || !checker.verify(signature, hash)) {
      return failed('worker_signature_invalid', `${name} is not signed by that worker's key.`)
    }
    if (!statement.statements[at]?.equals(hash)) {
      return failed('statement_mismatch', `${name} is not the one the pool states to have received.`)
    }
    if (!segment?.worker.equals(message.worker)) {
      return failed('statement_mismatch', `${name} does not belong to the segment that the pool lists in its place.`)
    }
    if (segment.tokens > message.tokens) {
      return failed('statement_mismatch', `${name} covers fewer pieces than the pool states to have relayed.`)
    }
    if (message.model !== statement.model || !sameBytes(message.digest, statement.digest)) {
      return failed('statement_mismatch', `${name} is about another model than the pool states.`)
    }
  }
  const hidden = statement.segments.find(({ worker }) => !statement.exposure.some((seen) => seen.equals(worker)))
  if (hidden) {
    return failed(
      'statement_mismatch',
      `Worker ${short(hidden.worker)} computed, and is not among those that saw the prompt.`,
    )
  }
  if (statement.asked === statement.model) {
    return failed('statement_mismatch', 'The pool states that a model stood in for itself.')
  }
  return fits(workersLine(statement, workers.length))
}

function workersLine(statement: ReceiptMessages['statement'], signed: number): string {
  const { segments, model, digest, exposure, asked } = statement
  const standIn = asked === undefined ? '' : ` in place of ${asked}, which was asked for and nobody offered`
  const of = signed === segments.length ? `${signed}` : `${signed} of ${segments.length}`
  const file = digest ? `model file sha256 ${short(digest)}` : 'no model file named'
  return `${of} ${segments.length === 1 ? 'segment' : 'segments'} signed by workers, model ${model}${standIn}, ${file}; ${exposure.length} saw the prompt to answer it`
}

const sameBytes = (a: Buffer | null, b: Buffer | null) => (a && b ? a.equals(b) : a === b)

/** That the bill stays below the order's cap and prices and below what was relayed and claimed. */
export function checkBill({ order: { message: order }, workers, statement }: Facts): CheckResult {
  const { usage, prices, price, segments, state } = statement
  if (prices.prompt > order.prices.prompt || prices.completion > order.prices.completion) {
    return failed('bill_mismatch', 'The pool billed higher prices per token than the order allows.')
  }
  if (price > order.cap)
    return failed('over_cap', `The price of ${price} micro-credits is above the order's cap of ${order.cap}.`)
  if (price > BigInt(usage.prompt) * prices.prompt + BigInt(usage.completion) * prices.completion) {
    return failed('bill_mismatch', 'The price is higher than the counted tokens at the stated prices.')
  }
  if (price > 0n && state !== 'completed' && state !== 'cancelled') {
    return failed('bill_mismatch', `A request that ended as ${state} was billed.`)
  }
  if (price > 0n && statement.transfer === null)
    return failed('bill_mismatch', 'A price is stated and no transfer that moved it.')
  const claims = workers.map(({ message }) => message.usage)
  const completionMax = segments
    .filter(({ signed }) => signed)
    .reduce((sum, { tokens }, at) => sum + Math.min(tokens, claims[at]?.completion ?? 0), 0)
  if (usage.completion > completionMax) {
    return failed('bill_mismatch', 'More completion tokens were billed than were relayed and signed for.')
  }
  if (usage.prompt > claims.reduce((sum, claim) => sum + claim.prompt, 0)) {
    return failed('bill_mismatch', 'More prompt tokens were billed than the workers claimed.')
  }
  return fits(
    `${state}; ${usage.prompt} prompt and ${usage.completion} completion tokens, ${price} micro-credits of at most ${order.cap}`,
  )
}

/** That later verdicts are the pool's own, or by a key that followed the pool's, and about this receipt. */
export function checkVerdicts(
  { verdicts, statement, poolKey, checker }: Facts,
  leaf: Buffer,
  successions: readonly string[] = [],
): CheckResult {
  const signers = [poolKey, ...successorsOf(poolKey, successions)]
  for (const { message, hash, signature } of verdicts) {
    if (!signers.some((key) => signature.key.equals(key)) || !checker.verify(signature, hash)) {
      return failed('verdict_invalid', 'A verdict is not signed by the pool.')
    }
    if (message.job !== statement.job || !message.receipt.equals(leaf)) {
      return failed('verdict_invalid', 'A verdict is about another receipt.')
    }
  }
  const { asked, given, reason } = statement.assurance
  const later = verdicts.map(({ message }) => `; ${verdictInWords(message)}`).join('')
  const why = reason === null ? '' : ` (${reason})`
  const evidence = `${statement.evidence}${evidenceInWords[statement.evidence]}`
  return fits(`assurance asked ${asked}, given ${given}${why}, evidence ${evidence}${later}`)
}

/** What a look can show, for people. */
const evidenceInWords = {
  none: '',
  weak: ' (a look can tell what is implausible, and no more)',
  margin:
    ' (a look can tell another model, an edit or an early end; not what is smaller than the noise between two machines)',
  exact: ' (computed again on the same arithmetic, every token must be the same)',
} as const satisfies Record<ReceiptMessages['statement']['evidence'], string>

function verdictInWords({ outcome, verifier, reason, score }: CheckVerdict): string {
  const by = verifier ? `worker ${short(verifier)}` : 'nobody'
  const mean = score === null ? '' : `, mean score ${score} logits`
  switch (outcome) {
    case 'clean':
      return `${by} looked at it again and found it clean${mean}`
    case 'hit':
      return `${by} looked at it again, and it is not what the model gives (${reason}${mean})`
    case 'waived':
      return `it was to be looked at again, and that was waived (${reason})`
  }
}

/** That these are the bytes the pool sent. */
export function checkResponse({ statement }: Facts, response: Buffer | undefined): CheckResult {
  if (!response) return fits('no response was given, so its bytes were not compared')
  if (!statement.response) return failed('response_mismatch', 'The receipt states no response, and one was given.')
  if (statement.response.equals(responseHash(response)))
    return fits('the response is, byte for byte, the one that was sent')
  const stream = streamHash(response)
  if (stream && statement.response.equals(stream))
    return fits('every data line of the response stream is the one that was sent')
  return failed('response_mismatch', 'The response is not the one this receipt was written for: its bytes differ.')
}
