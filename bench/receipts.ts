/**
 * How many Ed25519 signatures of the pool a receipt costs, and what checking the workers' signatures costs apart.
 *
 * Real jobs on a real PostgreSQL, a real worker over a real session (its engine answers at once); only HTTP is left
 * out. Orders are the pool's own as custodian, so that order, assignment and receipt are all signed by it. Writes
 * bench/results/receipts.json.
 *
 *   npm run bench:receipts [-- seconds]
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { runAgent } from '#agent'
import { generateIdentity, type Identity, sha256 } from '#crypto'
import { encodeInvite } from '#identity'
import { digestOf, type Signature, SignatureChecker, signBatch } from '#protocol'
import { systemRuntime as runtime } from '#runtime'
import { openDoor, PacedEngine, temporaryFolder, testDatabase, testPool } from '#testkit'
import { SmallPool } from '../src/testkit/small-pool.ts'

const seconds = Number(process.argv[2] ?? 5)
const callerCounts = [1, 8, 64, 512]
const goalReceiptsPerSignature = 12

interface Load {
  readonly callers: number
  readonly receipts: number
  readonly receiptsPerSecond: number
  readonly poolSignatures: number
  readonly receiptsPerSignature: number
}

let signatures = 0
const counting: Identity = {
  ...testPool,
  sign: (bytes) => {
    signatures++
    return testPool.sign(bytes)
  },
}

/** Callers that ask, wait for the whole answer and ask again. */
async function load(pool: SmallPool, callers: number): Promise<Load> {
  const settled = async () => Number((await countReceipts()) ?? 0)
  const before = { receipts: await settled(), signatures }
  const startedAt = runtime.monotonic()
  const until = startedAt + seconds * 1_000
  const caller = async () => {
    while (runtime.monotonic() < until) await (await pool.ask({ model: 'demo', maxTokens: 64 })).ended
  }
  await Promise.all(Array.from({ length: callers }, caller))
  while (pool.jobs.load.unsettled > 0) await runtime.sleep(5)
  const receipts = (await settled()) - before.receipts
  const poolSignatures = signatures - before.signatures
  return {
    callers,
    receipts,
    receiptsPerSecond: Math.round((receipts * 1_000) / (runtime.monotonic() - startedAt)),
    poolSignatures,
    receiptsPerSignature: Number((receipts / poolSignatures).toFixed(2)),
  }
}

const countReceipts = async () => (await sql<{ n: number }[]>`select count(*)::int as n from receipts`)[0]?.n

/** CPU of checking one statement's signature, when `batch` of them share it. Median of nine rounds, µs. */
function checkCost(batch: number): number {
  const worker = generateIdentity(runtime)
  const rounds = Array.from({ length: 9 }, () => {
    const checker = new SignatureChecker()
    const items = Array.from({ length: 2_048 }, (_, n) => {
      return {
        type: 'worker-statement/1' as const,
        bytes: Buffer.concat([sha256(Buffer.from(`${n}`)), runtime.randomBytes(300)]),
      }
    })
    const signed: Signature[] = []
    for (let at = 0; at < items.length; at += batch) signed.push(...signBatch(worker, items.slice(at, at + batch)))
    const startedAt = process.cpuUsage()
    items.forEach(({ type, bytes }, n) => {
      const signature = signed[n]
      if (!signature || !checker.verify(signature, digestOf(type, bytes)))
        throw new Error('a good signature was refused')
    })
    const { user, system } = process.cpuUsage(startedAt)
    return (user + system) / items.length
  })
  return Number((rounds.sort((a, b) => a - b)[4] ?? 0).toFixed(1))
}

await using home = await testDatabase()
const { sql } = home
const folder = temporaryFolder()
let pool: SmallPool
const door = await openDoor({
  pool: testPool,
  onAvailable: (worker) => pool.jobs.workerAvailable(worker),
  onChanged: (worker) => pool.jobs.workerAvailable(worker),
  onGone: (id) => pool.jobs.workerGone(id),
})
pool = await SmallPool.open(home.database, { workers: () => door.workers, pool: counting })
const stop = new AbortController()
const life = runAgent({
  invite: encodeInvite({ url: door.url, poolId: door.poolId, token: Buffer.alloc(32, 7) }),
  dataDir: folder.path,
  engines: [new PacedEngine({ runtime, pieces: Array.from({ length: 64 }, (_, n) => `w${n} `), slots: 1_024 })],
  agent: 'lichen/bench',
  runtime,
  log: { info: () => {}, warn: () => {} },
  signal: stop.signal,
  stopNow: stop.signal,
})
while (door.workers.list().length === 0) await runtime.sleep(10)

await load(pool, 64)
const loads: Load[] = []
console.log('callers   receipts   a second   pool signatures   receipts each')
for (const callers of callerCounts) {
  const one = await load(pool, callers)
  loads.push(one)
  const cells = [one.receipts, one.receiptsPerSecond, one.poolSignatures, one.receiptsPerSignature]
  console.log(String(callers).padStart(7) + cells.map((cell) => String(cell).padStart(13)).join(''))
}
const checks = [1, 8, 64].map((batch) => ({ statementsPerSignature: batch, cpuUs: checkCost(batch) }))
console.log('\nstatements under one signature   µs of CPU to check one')
for (const { statementsPerSignature, cpuUs } of checks) {
  console.log(String(statementsPerSignature).padStart(30) + String(cpuUs).padStart(25))
}

stop.abort()
await life
await pool[Symbol.asyncDispose]()
await door[Symbol.asyncDispose]()
folder[Symbol.dispose]()

const results = path.join(import.meta.dirname, 'results')
mkdirSync(results, { recursive: true })
writeFileSync(
  path.join(results, 'receipts.json'),
  `${JSON.stringify(
    {
      command: 'npm run bench:receipts',
      machine: {
        cpu: os.cpus()[0]?.model.trim(),
        cores: os.cpus().length,
        node: process.version,
        platform: `${os.type()} ${os.release()}`,
      },
      measured: new Date().toISOString().slice(0, 10),
      goals: { receiptsPerSignature: goalReceiptsPerSignature },
      loads,
      checks,
    },
    null,
    2,
  )}\n`,
)
