import { spawnSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemRuntime } from '#runtime'
import { type Database, openDatabase, runningPostgres } from '#storage'
import { eventually, Neighbourhood } from '#testkit'

/** A pool whose data folder is a small disk of its own, where this machine lets us mount one. */
const town = new Neighbourhood()
const mounted = mount(town.dataDir)
const ballast = path.join(town.dataDir, 'ballast')
let database: Database

beforeAll(async () => {
  await town.start('up')
  const target = await runningPostgres(town.dataDir)
  if (!target) throw new Error('the pool has no database of its own')
  database = await openDatabase({ target, runtime: systemRuntime })
})

afterAll(async () => {
  await database?.end()
  await town.stop()
  if (mounted) spawnSync('umount', [town.dataDir])
  await town[Symbol.asyncDispose]()
})

function mount(folder: string): boolean {
  mkdirSync(folder, { mode: 0o700 })
  const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=160m,mode=0700', 'tmpfs', folder])
  return status === 0
}

/** Writes until not one more byte has room. */
function fillDisk(): void {
  const file = openSync(ballast, 'a', 0o600)
  let piece = Buffer.alloc(2 ** 20)
  while (piece.length > 0) {
    try {
      if (writeSync(file, piece) < piece.length) piece = piece.subarray(0, piece.length >> 1)
    } catch {
      piece = piece.subarray(0, piece.length >> 1)
    }
  }
  closeSync(file)
}

const ready = async () => {
  const response = await fetch(`${town.url}/readyz`)
  return { status: response.status, ...((await response.json()) as { ready: boolean; reason: string | null }) }
}

/** One request; what its client was told, and when it was answered, the receipt it may ask for. */
async function ask(key: string, stream: boolean) {
  const response = await fetch(`${town.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${town.apiKey}`, 'content-type': 'application/json', 'idempotency-key': key },
    body: JSON.stringify({
      model: 'lichen-demo',
      messages: [{ role: 'user', content: '3+4=?' }],
      temperature: 0,
      stream,
    }),
    // one that is not answered fails here: the database is waited for 30 s
    signal: AbortSignal.timeout(45_000),
  })
  const text = await response.text()
  const code = response.ok ? '' : (JSON.parse(text) as { error: { code: string } }).error.code
  return { key, stream, status: response.status, code, text, job: response.headers.get('x-lichen-receipt') ?? '' }
}

const askMany = (round: string, count = 30) =>
  Promise.all(Array.from({ length: count }, (_, n) => ask(`${round} ${n}`, n % 2 === 1)))

/** Nothing that a client was told is missing from the books, and the books are right. */
async function expectAcknowledged(jobs: readonly string[]): Promise<void> {
  for (const job of jobs) {
    await eventually(`the receipt of ${job}`, async () => {
      const response = await fetch(`${town.url}/v1/receipts/${job}`, {
        headers: { authorization: `Bearer ${town.apiKey}` },
      })
      return response.status === 200 && !(await response.text()).includes('"pending"')
    })
  }
  const audit = await town.cli('audit')
  expect(audit.out).toContain('Everything is as it was logged.')
  expect(audit.code).toBe(0)
}

const tables = ['jobs', 'transfers', 'log_leaves'] as const

test('a database that has no room says so to everybody, and whoever waited is answered when there is room again', async () => {
  const { sql } = database
  await sql.unsafe(`create function no_room() returns trigger language plpgsql as $$
    begin raise exception 'could not extend file: No space left on device' using errcode = 'disk_full'; end $$`)
  for (const table of tables)
    await sql.unsafe(`create trigger no_room before insert on ${table} for each statement execute function no_room()`)
  const waiting = askMany('no room')
  const notReady = await eventually('the pool to know', async () => {
    const answer = await ready()
    return answer.status === 503 && answer
  })
  expect(notReady).toEqual({ status: 503, ready: false, reason: 'The database does not answer, or cannot write.' })
  const late = await eventually('a request refused at once', async () => {
    const told = await Promise.race([ask(`late ${systemRuntime.uuid()}`, false), systemRuntime.sleep(1_000)])
    return told?.text.includes('nothing of this request was done') && told
  })
  expect(late).toMatchObject({ status: 503, code: 'database_unavailable' })
  for (const table of tables) await sql.unsafe(`drop trigger no_room on ${table}`)
  const told = await waiting
  expect(told.map(({ status }) => status)).toEqual(told.map(() => 200))
  expect(await eventually('the pool to be ready', async () => (await ready()).ready)).toBe(true)
  await expectAcknowledged(told.map(({ job }) => job))
})

test('the disk is full and PostgreSQL dies of it: every request gets a status, and room is all that is needed', async ({
  skip,
}) => {
  if (!mounted) skip('this machine lets us mount no file system of our own')
  const before = await askMany('before', 4)
  fillDisk()
  // the next segment of its write-ahead log has no room: the server ends, and cannot start again
  await database.sql`select pg_switch_wal()`.catch(() => {})
  const full = askMany('full')
  const notReady = await eventually('the pool to know', async () => {
    const answer = await ready()
    return answer.status === 503 && answer
  })
  expect(notReady.reason).toBe('The database does not answer, or cannot write.')
  await systemRuntime.sleep(2_000)
  fillDisk()
  rmSync(ballast)
  const told = await full
  for (const { status, code } of told)
    expect([status, code]).toEqual(status === 200 ? [200, ''] : [503, 'database_unavailable'])
  await eventually('the pool to be ready', async () => (await ready()).ready)
  const failed = told.flatMap(({ status, key, stream }) => (status === 200 ? [] : [{ key, stream }]))
  const again = await Promise.all(failed.map(({ key, stream }) => ask(key, stream)))
  expect(again.map(({ status }) => status)).toEqual(again.map(() => 200))
  const jobs = [...before, ...told, ...again].filter(({ status }) => status === 200).map(({ job }) => job)
  await expectAcknowledged(jobs)
}, 120_000)
