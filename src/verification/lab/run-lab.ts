import { proportionMax } from '#reputation'
import { verificationLimits } from '../limits.ts'
import { type Expected, expectedOf } from './expected.ts'
import { type Goal, goalsOf } from './goals.ts'
import { LabPool } from './lab-pool.ts'
import { type HonestMeasured, type HonestPool, honestSummary, type Measured, measure } from './measure.ts'
import { honestTheory } from './theory.ts'
import { foundAsVerifier, zoo } from './zoo.ts'

export interface LabPlan {
  /** Workers of a pool, each of an operator of its own: at least {@link labSize} with the cheaters. */
  readonly workers: number
  /** Cheaters among them, 1 or more. */
  readonly cheaters: number
  /** Share of answers that is false where the adversary has none of its own, above 0, at most 1. */
  readonly rate: number
  readonly seed: number
  /** Requests that honest pools answer. */
  readonly requests: number
  /** Cases of each adversary; a quarter for those found as verifiers, for whom the whole pool must work. */
  readonly cases: number
  /** Names of {@link zoo}; all of them where nothing is said. */
  readonly adversaries?: readonly string[]
}

export const labDefaults = {
  workers: 8,
  cheaters: 2,
  rate: 0.3,
  seed: 7,
  requests: 160_000,
  cases: 250,
} as const satisfies LabPlan

/** A check, its second opinion and a tribunal need four who are not accused. */
export const labHonestMin = 4
/** An honest life: a pool older than that is followed by a new one, so that every long run has newcomers, too. */
export const lifeRequests = 20_000

export interface LabRow {
  readonly name: string
  readonly does: string
  readonly asVerifier: boolean
  readonly measured: Measured
  readonly expected: Expected
}

export interface LabResult {
  readonly plan: LabPlan
  readonly honest: HonestMeasured & {
    /** Upper bound of the share of honest requests that end in a false conviction, 95 % (Clopper and Pearson 1934). */
    readonly falseConvictionMax: number
    readonly expectedCheckRate: number
    readonly expectedAlarms: number
  }
  /** Of honest workers, in honest pools and beside the cheaters. */
  readonly falseConvictions: number
  readonly rows: readonly LabRow[]
  readonly goals: readonly Goal[]
}

/** Honest pools that turncoats come from; more would only fill memory. */
const grownPoolsMax = 8

/** How far it is: what is played, and which part of it is done, 0 … 1. */
export type LabProgress = (what: string, share: number) => void

/** Plays honest pools, then every adversary, in virtual time. The same plan gives the same result. */
export function runLab(plan: LabPlan, progress: LabProgress = () => undefined): LabResult {
  const { workers: size, rate, seed } = plan
  const { pools, ages } = playHonest(plan, progress)
  const chosen = zoo.filter(({ name }) => plan.adversaries?.includes(name) ?? true)
  const rows = chosen.map((adversary, i): LabRow => {
    progress(adversary.name, i / chosen.length)
    const together = adversary.together ?? plan.cheaters
    const age = adversary.honestRequests
    const grown = age > 0 ? (ages.get(age) ?? [growTo(`${seed}/grown`, age, plan)]) : []
    const poolOf = (name: string, n: number) => grown[n % grown.length]?.fork(name) ?? new LabPool(name, size, rate)
    const cases = foundAsVerifier(adversary) ? Math.ceil(plan.cases / 4) : plan.cases
    const measured = measure({ adversary, size, together, cases, seed: String(seed), poolOf })
    const { name, does, verifies } = adversary
    const friends = verifies === 'covering' || verifies === 'accusing' ? together - 1 : 0
    const asVerifier = foundAsVerifier(adversary)
    return { name, does, asVerifier, measured, expected: expectedOf(adversary, rate, size - 1, friends) }
  })
  progress('theory', 1)
  const summary = honestSummary(pools)
  const expected = honestTheory(Math.min(lifeRequests, Math.max(1, Math.ceil(plan.requests / size))))
  const beside = rows.reduce((sum, { measured }) => sum + measured.falseConvictions, 0)
  const honest = {
    ...summary,
    falseConvictionMax: proportionMax(summary.falseConvictions, summary.requests, verificationLimits.confidence),
    expectedCheckRate: expected.checkRate,
    expectedAlarms: expected.falseAlarmPerRequest * summary.requests,
  }
  const falseConvictions = summary.falseConvictions + beside
  return { plan, honest, falseConvictions, rows, goals: goalsOf(plan, rows, { ...honest, falseConvictions }) }
}

/** Pools of honest workers, and copies of them at the ages at which turncoats turn. */
function playHonest(plan: LabPlan, progress: LabProgress) {
  const turns = zoo.map(({ honestRequests }) => honestRequests).filter((age) => age > 0)
  const pools: HonestPool[] = []
  const ages = new Map<number, LabPool[]>()
  for (let done = 0; done < plan.requests; done += plan.workers * lifeRequests) {
    const pool = new LabPool(`${plan.seed}/honest/${pools.length}`, plan.workers, plan.rate)
    const rounds = Math.min(lifeRequests, Math.ceil((plan.requests - done) / plan.workers))
    for (let round = 1; round <= rounds; round++) {
      pool.round()
      if (turns.includes(round) && pools.length < grownPoolsMax)
        ages.set(round, [...(ages.get(round) ?? []), pool.fork('grown')])
      if (round % 1_000 === 0) progress('honest', (done + round * plan.workers) / plan.requests)
    }
    pool.close()
    pools.push({ tally: pool.tally, convicted: pool.workers.filter(({ convicted }) => convicted).length })
  }
  return { pools, ages }
}

function growTo(seed: string, age: number, { workers, rate }: LabPlan): LabPool {
  const pool = new LabPool(seed, workers, rate)
  for (let round = 0; round < age; round++) pool.round()
  return pool
}
