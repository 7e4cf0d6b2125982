import { verificationLimits } from './limits.ts'
import { picker, type Sample } from './sampling.ts'

/** A worker that could verify: it has the model, and can be compared with the worker that is checked. */
export interface Candidate {
  readonly worker: string
  readonly operator: string
}

/**
 * Who verifies a statement: up to `count` workers of distinct operators, none of whom is in `excluded` (the operator that
 * is checked, and for a second opinion or a tribunal those who accuse). Fewer come back where there are fewer operators;
 * the shell then waives the check, or asks the pool's own engine.
 *
 * No operator makes more than a third of a worker's checks, or 1/k where only k others are there, so that one friend
 * cannot clear a cheater nor one enemy accuse it; only where several are asked and too few are left does one go beyond.
 * An operator is picked first and then one of its workers: many names of one operator are no more likely than one.
 */
export function chooseVerifiers({
  candidates,
  excluded,
  checksBy,
  count,
  ...sample
}: Sample & {
  readonly candidates: readonly Candidate[]
  readonly excluded: ReadonlySet<string>
  /** How many of the worker's checks each operator has made. */
  readonly checksBy: ReadonlyMap<string, number>
  readonly count: number
}): Candidate[] {
  const next = picker({ ...sample, label: 'verifier' })
  const others = new Map<string, string[]>()
  const workers = new Map<string, Candidate>()
  for (const candidate of candidates) {
    const { operator, worker } = candidate
    if (excluded.has(operator)) continue
    const known = others.get(operator)
    if (known) known.push(worker)
    else others.set(operator, [worker])
    workers.set(worker, candidate)
  }
  const operators = [...others.keys()].sort()
  const made = operators.reduce((sum, operator) => sum + (checksBy.get(operator) ?? 0), 0)
  const share = Math.min(verificationLimits.verifierOperatorsMin, operators.length)
  const allowed = Math.ceil((made + 1) / share)
  const withinShare = operators.filter((operator) => (checksBy.get(operator) ?? 0) < allowed)
  const beyond = operators.filter((operator) => !withinShare.includes(operator))

  return Array.from({ length: Math.min(count, operators.length) }, () => {
    const from = withinShare.length > 0 ? withinShare : beyond
    const [operator = ''] = from.splice(next(from.length), 1)
    const its = others.get(operator)?.sort() ?? []
    return workers.get(its[next(its.length)] ?? '')
  }).filter((candidate) => candidate !== undefined)
}
