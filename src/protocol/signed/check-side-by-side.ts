import type { StatedLook } from './messages.ts'
import { type CheckResult, failed, short } from './receipt-checks.ts'
import type { ReceiptMessages } from './receipt-file.ts'

type Facts = Pick<ReceiptMessages, 'statement' | 'workers'>

/** One answer of those that were computed side by side. */
interface Computed {
  readonly choice: number
  readonly attempt: number
  /** Lowercase hex. */
  readonly worker: string
  /** Of its tokens, lowercase hex. */
  readonly sent: string
}

/**
 * That an answer which was to be computed by several was shown for a reason that is on the receipt: of each choice two workers gave the same
 * tokens, or each looked at the other's and found them clean. How many more had to agree, only the pool knows.
 */
export function checkSideBySide({ statement, workers }: Facts): CheckResult {
  const looks = statement.checks ?? []
  const answers = computedIn({ statement, workers })
  const stray = looks.find((look) => !isBetween(look, answers))
  if (stray) {
    const at = `${stray.choice}/${stray.attempt}`
    return failed('statement_mismatch', `A look at attempt ${at} is by nobody who computed the same choice beside it.`)
  }
  const { given } = statement.assurance
  if (statement.state !== 'completed' || (given !== 'required' && given !== 'deterministic')) {
    return { line: inWords(looks, answers) }
  }
  const alone = [...Map.groupBy(answers, ({ choice }) => choice)].find(
    ([, ofChoice]) =>
      !ofChoice.some((one, n) => ofChoice.slice(n + 1).some((other) => agree(one, other, looks, given))),
  )
  if (alone || answers.length === 0) {
    return failed(
      'statement_mismatch',
      `Answers are said to agree (${given}), and of choice ${alone?.[0] ?? 0} no two do.`,
    )
  }
  return { line: inWords(looks, answers) }
}

/** Whether there is anything of the kind in it. */
export const isSideBySide = ({ checks, assurance: { given } }: ReceiptMessages['statement']): boolean =>
  checks !== undefined || given === 'required' || given === 'deterministic'

function computedIn({ statement, workers }: Facts): Computed[] {
  const signed = statement.segments.filter((segment) => segment.signed)
  return signed.flatMap(({ choice, attempt, worker }, at) => {
    const sent = workers[at]?.message.sent
    return sent ? [{ choice, attempt, worker: worker.toString('hex'), sent: sent.toString('hex') }] : []
  })
}

const isOf = ({ choice, attempt }: StatedLook, answer: Computed) =>
  answer.choice === choice && answer.attempt === attempt

/** Whether one looked at another's. */
function isBetween(look: StatedLook, answers: readonly Computed[]): boolean {
  const verifier = look.verifier.toString('hex')
  const of = answers.find((answer) => isOf(look, answer))
  return (
    of !== undefined &&
    of.worker !== verifier &&
    answers.some(({ choice, worker }) => choice === look.choice && worker === verifier)
  )
}

function agree(one: Computed, other: Computed, looks: readonly StatedLook[], given: string): boolean {
  if (one.worker === other.worker) return false
  if (one.sent === other.sent) return true
  const isClean = (answer: Computed, by: Computed) =>
    looks.some((look) => look.outcome === 'clean' && isOf(look, answer) && look.verifier.toString('hex') === by.worker)
  return given === 'required' && isClean(one, other) && isClean(other, one)
}

function inWords(looks: readonly StatedLook[], answers: readonly Computed[]): string {
  const workers = new Set(answers.map(({ worker }) => worker)).size
  const same = [...Map.groupBy(answers, ({ choice }) => choice).values()].every(
    (ofChoice) => new Set(ofChoice.map(({ sent }) => sent)).size === 1,
  )
  const head = `side by side: ${workers} ${workers === 1 ? 'worker' : 'workers'} computed it`
  if (looks.length === 0) return same && workers > 1 ? `${head} and gave the same tokens` : head
  const ofWhom = (look: StatedLook) => {
    const answer = answers.find((one) => isOf(look, one))
    return short(Buffer.from(answer?.worker ?? '', 'hex'))
  }
  const told = looks.map((look) => {
    const what = `worker ${short(look.verifier)} looked at what ${ofWhom(look)} gave and`
    const score = look.score === null ? '' : `, mean score ${look.score} logits`
    if (look.outcome === 'clean') return `${what} found it clean${score}`
    if (look.outcome === 'hit') return `${what} found that it is not what the model gives (${look.why}${score})`
    return `${what} said nothing (${look.why})`
  })
  return [head, ...told].join('; ')
}
