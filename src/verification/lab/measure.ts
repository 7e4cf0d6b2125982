import { checkCost, type LabPool, type PoolTally } from './lab-pool.ts'
import type { LabWorker } from './lab-worker.ts'
import { type Adversary, foundAsVerifier } from './zoo.ts'

/** What one adversary came to, over all its cases. */
export interface Measured {
  /** Identities that were played, and how many of them were convicted. */
  readonly cases: number
  readonly caught: number
  /** From the first request, or the turn, to the conviction; in verdicts of it for those who are found as verifiers. */
  readonly delayMean: number
  readonly delayP95: number
  /** Of its requests, from when it began. */
  readonly checkRate: number
  /** What cheating brought more than honest work on the same requests, in earnings of a request, for each identity. */
  readonly profit: number
  /** Honest workers beside it that were convicted. */
  readonly falseConvictions: number
  readonly honestRequests: number
}

/** Rounds after which a cheater that is still there counts as one that got away. */
const roundsMax = 20_000

export interface MeasurePlan {
  readonly adversary: Adversary
  readonly size: number
  readonly together: number
  readonly cases: number
  readonly seed: string
  /** A pool of honest workers, as the n-th case finds it; they have given `honestRequests` answers each. */
  readonly poolOf: (seed: string, n: number) => LabPool
}

/** Plays pool after pool until there are enough cases. Where requests decide, only the suspects get any. */
export function measure(plan: MeasurePlan): Measured {
  const { adversary, size, together, seed } = plan
  const done: Case[] = []
  let [falseConvictions, honestRequests] = [0, 0]
  for (let n = 0; done.length < plan.cases; n++) {
    const pool = plan.poolOf(`${seed}/${adversary.name}/${n}`, n)
    const before = pool.tally.requests
    const suspects = Array.from({ length: together }, (_, i) => (n * together + i) % size)
    const cases = play(pool, suspects, adversary)
    pool.close()
    done.push(...cases)
    falseConvictions += pool.workers.filter((worker, i) => !suspects.includes(i) && worker.convicted).length
    honestRequests += pool.tally.requests - before - cases.reduce((sum, { requests }) => sum + requests, 0)
  }
  return { ...summary(done), falseConvictions, honestRequests }
}

interface Case {
  readonly delay: number | null
  readonly requests: number
  readonly checks: number
  readonly profit: number
}

function play(pool: LabPool, suspects: readonly number[], adversary: Adversary): Case[] {
  const lives = suspects.map(() => adversary.comesBack)
  const cases: Case[] = []
  for (const n of suspects) pool.workers[n]?.become(adversary)
  const open = new Set(suspects)
  for (let round = 0; round < roundsMax && open.size > 0; round++) {
    pool.round(foundAsVerifier(adversary) ? undefined : suspects)
    suspects.forEach((n, i) => {
      const worker = pool.workers[n]
      if (!worker?.convicted || !open.has(n)) return
      cases.push(caseOf(pool, worker))
      if (lives[i]) {
        lives[i] = (lives[i] ?? 0) - 1
        pool.replace(worker)
      } else open.delete(n)
    })
  }
  for (const n of open) {
    const worker = pool.workers[n]
    if (worker) cases.push(caseOf(pool, worker))
  }
  return cases
}

function caseOf(pool: LabPool, worker: LabWorker): Case {
  const { served, judged, checks, since, convicted, adversary } = worker
  const delay = foundAsVerifier(adversary) ? judged - since.judged : served - since.served
  const counts = { requests: served - since.served, checks: checks - since.checks }
  return { ...counts, delay: convicted ? delay : null, profit: pool.profitOf(worker) }
}

function summary(cases: readonly Case[]): Omit<Measured, 'falseConvictions' | 'honestRequests'> {
  const delays = cases.flatMap(({ delay }) => delay ?? []).sort((a, b) => a - b)
  const sum = (of: (one: Case) => number) => cases.reduce((total, one) => total + of(one), 0)
  return {
    cases: cases.length,
    caught: delays.length,
    delayMean: delays.reduce((total, delay) => total + delay, 0) / delays.length,
    delayP95: delays[Math.ceil(delays.length * 0.95) - 1] ?? Number.NaN,
    checkRate: sum(({ checks }) => checks) / sum(({ requests }) => requests),
    profit: sum(({ profit }) => profit) / cases.length,
  }
}

/** What is kept of a pool of honest workers. */
export interface HonestPool {
  readonly tally: PoolTally
  readonly convicted: number
}

/** What pools of honest workers came to. */
export interface HonestMeasured {
  readonly requests: number
  readonly checks: number
  readonly alarms: number
  readonly falseConvictions: number
  readonly checkRate: number
  /** Work that the pool did beside the answers, as a share of them. */
  readonly overhead: number
}

export function honestSummary(pools: readonly HonestPool[]): HonestMeasured {
  const sum = (of: (pool: HonestPool) => number) => pools.reduce((total, pool) => total + of(pool), 0)
  const requests = sum(({ tally }) => tally.requests)
  const checks = sum(({ tally }) => tally.checks)
  return {
    requests,
    checks,
    alarms: sum(({ tally }) => tally.alarms),
    falseConvictions: sum(({ convicted }) => convicted),
    checkRate: checks / requests,
    overhead: (checkCost * sum(({ tally }) => tally.looks)) / requests,
  }
}
