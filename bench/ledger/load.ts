import { ledgerStage, splitCharge } from '#ledger'
import { systemRuntime } from '#runtime'
import { type Database, GroupCommit, part } from '#storage'

export interface Load {
  readonly callers: number
  /** `hot`: every charge pays the same worker, pool and treasury. `random`: three accounts of many. */
  readonly payees: 'hot' | 'random'
  /** One in so many payers has no credit; 0: none. */
  readonly shortEvery: number
  /** Whether each hold also reserves in the budget of a key, as every request of a pool does. */
  readonly budgets: boolean
  readonly seconds: number
}

export interface Measured extends Load {
  readonly cyclesPerSecond: number
  readonly refusedPerSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** Processor time of this process for one cycle, µs. */
  readonly cpuUsPerCycle: number
  /** Cycles of one commit. */
  readonly perFlush: number
}

const accounts = 10_000
const hex = (n: number) => n.toString(16).padStart(12, '0')
const user = (n: number) => `user:00000000-0000-4000-8000-${hex(n)}`
const worker = (n: number) => `worker:${hex(n).padStart(64, '0')}`
const any = () => Math.floor(Math.random() * accounts)

/** Payers with credit, but for one in a hundred, and as many payees. */
export async function fillLedger(database: Database): Promise<void> {
  const names = Array.from({ length: accounts }, (_, n) => user(n))
  const payees = Array.from({ length: accounts }, (_, n) => worker(n))
  await database.sql`insert into accounts (name, kind) select n, 'user' from unnest(${names}::text[]) n`
  await database.sql`insert into accounts (name, kind) select n, 'worker' from unnest(${payees}::text[]) n`
  await using commit = new GroupCommit({ database, runtime: systemRuntime, stages: [ledgerStage] })
  const [kind, from, authorisation] = ['grant', 'issuance', Buffer.from('bench')] as const
  const rich = names.filter((_, n) => n % 100 !== 0)
  const grants = rich.map((to) => {
    const at = Date.now()
    const grant = {
      op: 'transfer',
      id: systemRuntime.uuid(),
      kind,
      from,
      to,
      amount: 10n ** 12n,
      at,
      authorisation,
    } as const
    return commit.submit([part(ledgerStage, grant)])
  })
  await Promise.all(grants)
}

/** Callers that each hold, wait for the commit, post, wait for the commit, and begin again. */
export async function measure(database: Database, load: Load): Promise<Measured> {
  let flushes = 0
  const commit = new GroupCommit({
    database,
    runtime: systemRuntime,
    stages: [ledgerStage],
    onFlush: () => flushes++,
  })
  const latencies: number[] = []
  let refused = 0
  let over = false
  const caller = async () => {
    while (!over) {
      const begun = performance.now()
      if (await cycle(commit, load)) latencies.push(performance.now() - begun)
      else refused++
    }
  }
  const [cpu, begun] = [process.cpuUsage(), performance.now()]
  const callers = Array.from({ length: load.callers }, caller)
  await systemRuntime.sleep(load.seconds * 1_000)
  over = true
  await Promise.all(callers)
  const seconds = (performance.now() - begun) / 1_000
  const used = process.cpuUsage(cpu)
  await commit.stop()
  latencies.sort((a, b) => a - b)
  const cycles = Math.max(1, latencies.length)
  const rank = (share: number) => Number((latencies[Math.floor(latencies.length * share)] ?? 0).toFixed(2))
  return {
    ...load,
    cyclesPerSecond: Math.round(latencies.length / seconds),
    refusedPerSecond: Math.round(refused / seconds),
    p50Ms: rank(0.5),
    p99Ms: rank(0.99),
    cpuUsPerCycle: Math.round((used.user + used.system) / cycles),
    perFlush: Math.round((2 * cycles + refused) / Math.max(1, flushes)),
  }
}

/** One job's money; false when the payer was short. */
async function cycle(commit: GroupCommit, load: Load): Promise<boolean> {
  let payer = any()
  if (load.shortEvery === 0 && payer % 100 === 0) payer++
  const hold = systemRuntime.uuid()
  const at = Date.now()
  const unlimited = { total: null, requestsPerMinute: null, tokensPerMinute: null }
  const budget = load.budgets ? { key: user(payer), ...unlimited, perDay: 10n ** 15n, tokens: 500 } : null
  const held = await commit.submit([
    part(ledgerStage, {
      op: 'hold',
      id: hold,
      account: user(payer),
      amount: 200_000n,
      expiresAt: at + 60_000,
      at,
      budget,
    }),
  ])
  if (!held.applied) return false
  const amount = 61_700n
  const legs =
    load.payees === 'hot'
      ? splitCharge({ amount, segments: [{ account: worker(1), tokens: 100 }] })
      : [37_020n, 18_510n, 6_170n].map((part) => ({ account: worker(any()), amount: part }))
  const post = { op: 'post', id: systemRuntime.uuid(), hold, amount, legs, tokens: 150, kind: 'charge', at } as const
  return (await commit.submit([part(ledgerStage, post)])).applied
}
