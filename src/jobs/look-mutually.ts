import type { Comparison, MutualLook } from '#verification'
import type { Relation } from './agreement.ts'
import type { Choice } from './choice.ts'
import { whyUnfit } from './evidence-grade.ts'
import { keptAnswer } from './given-answers.ts'

/** A look at the answer of an attempt. */
export interface PanelLook extends MutualLook {
  readonly attempt: number
  readonly workerId: string
  readonly digest: string | null
}

/** What is known of two answers, and the looks by which it is. */
interface Related {
  readonly relation: Relation
  readonly looks: readonly PanelLook[]
}

/**
 * Two answers that are not the same, of workers that computed them side by side. On one arithmetic they differ, and that is all. On two, each worker
 * looks at the other's answer: they agree if both find what their own model gives, and differ as soon as one does not.
 */
export async function lookMutually(
  comparison: Pick<Comparison, 'isSameClass' | 'look'>,
  one: Choice,
  other: Choice,
  stop: AbortSignal,
): Promise<Related> {
  const [a, b] = [givenBy(one), givenBy(other)]
  if (!a || !b) return { relation: 'unknown', looks: [] }
  if (comparison.isSameClass(a.workerId, b.workerId, a.answer.digest)) return { relation: 'differ', looks: [] }
  const [ofA, ofB] = await Promise.all([comparison.look(a, b.workerId, stop), comparison.look(b, a.workerId, stop)])
  const looks = [...lookAtIt(a, ofA), ...lookAtIt(b, ofB)]
  if (looks.some(({ says }) => says === 'hit')) return { relation: 'differ', looks }
  const bothClean = looks.filter(({ says }) => says === 'clean').length === 2
  return { relation: bothClean ? 'agree' : 'unknown', looks }
}

type Given = NonNullable<ReturnType<typeof givenBy>>

const lookAtIt = ({ attempt, workerId, answer: { digest } }: Given, look: MutualLook | undefined): PanelLook[] =>
  look ? [{ ...look, attempt, workerId, digest }] : []

/** Beside each other only the workers themselves look, and at model files only. */
const nobody = { hasOwnFor: () => false, looksAtUpstream: () => false }

/** What a worker gave and signed; undefined where nobody can look at it. */
function givenBy(choice: Choice) {
  const place = choice.attempts.length - 1
  const attempt = choice.attempts[place]
  if (!attempt?.statement || whyUnfit(choice, attempt, nobody) !== null) return undefined
  const { bytes } = attempt.statement.signed
  const { n, workerId } = attempt
  return { attempt: n, workerId, statement: bytes, answer: keptAnswer(choice, attempt, place) }
}
