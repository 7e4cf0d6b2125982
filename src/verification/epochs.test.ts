import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { jobStages } from '#jobs'
import { type LoggedLeaf, readLeaves, TransparencyLog } from '#log'
import { epochMs, epochOf, type PoolId, SignatureChecker } from '#protocol'
import { systemRuntime } from '#runtime'
import { GroupCommit } from '#storage'
import { type SimulatedRuntime, simulatedRuntime, temporaryFolder, testPool } from '#testkit'
import { type TestDatabase, testDatabase } from '../testkit/test-database.ts'
import { auditCheckLeaves, auditCheckTables } from './audit-checks.ts'
import { auditSampling } from './audit-sampling.ts'
import { Epochs } from './epochs.ts'
import { verificationLimits } from './limits.ts'
import { type Rate, Rates } from './rates.ts'

const { disclosureMs, epochLookMs, epochsAhead } = verificationLimits

/** Two processes of one pool on one database, each with a clock of its own. */
let home: TestDatabase
const processes: { log: TransparencyLog; commit: GroupCommit; folder: ReturnType<typeof temporaryFolder> }[] = []
beforeAll(async () => {
  home = await testDatabase()
  const { database } = home
  for (let n = 0; n < 2; n++) {
    const folder = temporaryFolder()
    const more = { database, runtime: systemRuntime, poolId: testPool.id as PoolId, signer: testPool }
    const log = await TransparencyLog.open({ ...more, dataDir: folder.path })
    processes.push({ log, folder, commit: new GroupCommit({ ...more, stages: jobStages(log.stage) }) })
  }
})
afterAll(async () => {
  for (const { log, commit, folder } of processes) {
    await commit.stop()
    await log[Symbol.asyncDispose]()
    folder[Symbol.dispose]()
  }
  await home.drop()
})

const problems: unknown[] = []
function open(n: number, runtime: SimulatedRuntime): Promise<Epochs> {
  const process = processes[n]
  if (!process) throw new Error('there are two')
  const { log, commit } = process
  const sealingKey = Buffer.alloc(32, 3)
  const onProblem = (error: unknown) => problems.push(error)
  return Epochs.open({ database: home.database, commit, runtime, sealingKey, logStage: log.stage, onProblem })
}

const start = Math.floor(Date.UTC(2027, 0, 1) / epochMs) * epochMs
let dice = 0
const clocks = (at: number) => [1, 2].map(() => simulatedRuntime(++dice, at))
const openBoth = (both: readonly SimulatedRuntime[]) => Promise.all(both.map((runtime, n) => open(n, runtime)))
const told = async () => (await home.sql`select from epochs where key is not null`).length

/** Whatever happened, the books are right. Gives the leaves of epochs. */
async function audited(): Promise<string[]> {
  const facts = { keys: processes[0]?.log.keys as never, checker: new SignatureChecker() }
  const refs: string[] = []
  for await (const page of readLeaves(home.sql, 0)) {
    expect(await auditCheckLeaves(home.sql, page as readonly LoggedLeaf[], facts)).toBeUndefined()
    refs.push(...page.filter(({ kind }) => kind === 'epoch').map(({ ref }) => ref))
  }
  expect(await auditCheckTables(home.sql)).toBeUndefined()
  return refs
}

test('two processes that race for an epoch have one key, and the log one commitment', async () => {
  const both = clocks(start)
  const [one, two] = await openBoth(both)
  await using _ = { [Symbol.asyncDispose]: async () => void (await one?.[Symbol.asyncDispose]()) }
  await using __ = { [Symbol.asyncDispose]: async () => void (await two?.[Symbol.asyncDispose]()) }
  for (let hours = 0; hours < 4; hours++) {
    const at = both[0]?.now() ?? 0
    for (let ahead = 0; ahead <= epochsAhead; ahead++) {
      expect(one?.at(at + ahead * epochMs)).toEqual(two?.at(at + ahead * epochMs))
    }
    for (const runtime of both) runtime.jumpWallClock(epochMs)
    const after = epochOf(both[0]?.now() ?? 0) + epochsAhead
    const isOpen = (epochs: Epochs | undefined) => {
      try {
        return epochs?.at(after * epochMs).epoch === after
      } catch {
        return false
      }
    }
    await expect
      .poll(
        () => {
          for (const runtime of both) runtime.advance(epochLookMs)
          return isOpen(one) && isOpen(two)
        },
        { timeout: 20_000 },
      )
      .toBe(true)
  }
  const refs = await audited()
  expect(new Set(refs).size).toBe(refs.length)
  expect(problems).toEqual([])
})

test('hours in which nobody asked anything are told once, by whichever process, and audited like others', async () => {
  const [first] = await home.sql<{ n: number }[]>`select count(*)::int as n from epochs`
  // The last of the five hours is told an hour and a day behind its end.
  const both = clocks(start + 5 * epochMs + disclosureMs)
  const opened = await openBoth(both)
  await expect.poll(told).toBe(5)
  for (const epochs of opened) await epochs[Symbol.asyncDispose]()
  expect(await auditSampling(home.sql, epochOf(start))).toEqual({
    ok: true,
    count: { receipts: 0, statements: 0, selected: 0, checked: 0, waived: 0 },
  })
  // It was down meanwhile: nobody could ask in those hours, and nothing is said of them.
  await expect(auditSampling(home.sql, epochOf(start) + 12)).rejects.toMatchObject({ code: 'not_found' })
  await expect(auditSampling(home.sql, epochOf(start) + (first?.n ?? 0) - 1)).rejects.toMatchObject({
    message: expect.stringContaining('is told from'),
  })
  const refs = await audited()
  expect(refs.filter((ref) => ref.endsWith(' told'))).toHaveLength(5)
  expect(new Set(refs).size).toBe(refs.length)
})

test('an hour of which a check is still open, because the pool was down, is told when that has ended', async () => {
  const hour = epochOf(start) + 5
  const id = randomUUID()
  await home.sql`
    insert into checks (id, job_id, choice, attempt, worker_id, model, epoch, q_ppm, reason, state, owed_at)
    values (${id}, ${randomUUID()}, 0, 0, ${'ab'.repeat(32)}, 'moss', ${hour}, 1000000, 'unsigned', 'owed', now())`
  const [runtime] = clocks((hour + 2) * epochMs + disclosureMs)
  if (!runtime) throw new Error('there are two')
  await using epochs = await open(0, runtime)
  const isTold = async (epoch: number) =>
    (await home.sql`select from epochs where epoch = ${epoch} and key is not null`).length
  expect([await isTold(hour), await isTold(hour + 1)]).toEqual([0, 1])
  await home.sql`update checks set state = 'waived', waived = 'no_verifier', ended_at = now() where id = ${id}`
  await expect
    .poll(async () => {
      await runtime.pass(epochLookMs)
      return isTold(hour)
    })
    .toBe(1)
  expect(epochs.at(runtime.now()).epoch).toBe(hour + 27)
})

test('check rates are kept until every hour whose orders may name them is told, however long the pool was down', async () => {
  const worker = 'cd'.repeat(32)
  const ratesThere = async (ppm: number) =>
    (await home.sql`select from rate_tables where rates = ${JSON.stringify([[worker, 'moss', ppm]])}::text::jsonb`)
      .length
  const hour = epochOf(start) + 1_000
  const [runtime] = clocks(hour * epochMs)
  if (!runtime) throw new Error('there are two')
  await (await open(0, runtime))[Symbol.asyncDispose]()
  let ppm = 50_000
  const rates = await Rates.open(home.sql, runtime, (): Rate[] => [[worker, 'moss', ppm]])
  runtime.jumpWallClock(10 * verificationLimits.ratesKeptMs)
  ppm = 40_000
  await rates.renew()
  expect([await ratesThere(50_000), await ratesThere(40_000)]).toEqual([1, 1])
  await (await open(0, runtime))[Symbol.asyncDispose]()
  ppm = 30_000
  await rates.renew()
  expect([await ratesThere(50_000), await ratesThere(40_000)]).toEqual([0, 1])
})
