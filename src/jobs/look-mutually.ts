import type { Comparison } from '#verification'
import type { Relation } from './agreement.ts'
import type { Choice } from './choice.ts'
import { whyUnfit } from './evidence-grade.ts'
import { keptAnswer } from './given-answers.ts'

/**
 * Two answers that are not the same, of workers that computed them side by side. On one arithmetic they differ, and that is all. On two, each worker
 * looks at the other's answer: they agree if both find what their own model gives, and differ as soon as one does not.
 */
export async function lookMutually(
  comparison: Pick<Comparison, 'isSameClass' | 'look'>,
  one: Choice,
  other: Choice,
  stop: AbortSignal,
): Promise<Relation> {
  const [a, b] = [givenBy(one), givenBy(other)]
  if (!a || !b) return 'unknown'
  if (comparison.isSameClass(a.workerId, b.workerId, a.answer.digest)) return 'differ'
  const [ofA, ofB] = await Promise.all([comparison.look(a, b.workerId, stop), comparison.look(b, a.workerId, stop)])
  if (ofA === 'hit' || ofB === 'hit') return 'differ'
  return ofA === 'clean' && ofB === 'clean' ? 'agree' : 'unknown'
}

/** Beside each other only the workers themselves look, and at model files only. */
const nobody = { hasOwnFor: () => false, looksAtUpstream: () => false }

/** What a worker gave and signed; undefined where nobody can look at it. */
function givenBy(choice: Choice) {
  const place = choice.attempts.length - 1
  const attempt = choice.attempts[place]
  if (!attempt?.statement || whyUnfit(choice, attempt, nobody) !== null) return undefined
  const { bytes } = attempt.statement.signed
  return { workerId: attempt.workerId, statement: bytes, answer: keptAnswer(choice, attempt, place) }
}
