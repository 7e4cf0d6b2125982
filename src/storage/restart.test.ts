import { execFileSync } from 'node:child_process'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Runtime, systemRuntime } from '#runtime'
import { temporaryFolder } from '#testkit'
import type { Tx } from './client.ts'
import { texts } from './column.ts'
import { type Database, openDatabase } from './database.ts'
import { type EmbeddedEvent, type EmbeddedPostgres, startEmbeddedPostgres } from './embedded/start.ts'
import { GroupCommit, part, type Stage } from './group-commit.ts'

let folder: ReturnType<typeof temporaryFolder>
let server: EmbeddedPostgres
let database: Database
let events: EmbeddedEvent[]

beforeEach(async () => {
  folder = temporaryFolder()
  events = []
  server = await startEmbeddedPostgres({
    dataDir: folder.path,
    runtime: systemRuntime,
    onEvent: (event) => events.push(event),
    settings: { fsync: 'off' },
  })
  database = await openDatabase({ target: server.target, runtime: systemRuntime })
  await database.sql.unsafe('create table note (id text primary key)')
})
afterEach(async () => {
  await database.end()
  await server.stop()
  folder[Symbol.dispose]()
})

const notes: Stage<string> = {
  name: 'notes',
  async apply(tx: Tx, ids) {
    await tx`insert into note select * from unnest(${texts(ids)}::text[]) on conflict do nothing`
    return ids.map(() => 0)
  },
}
const strays: Stage<string> = { ...notes, name: 'strays', alwaysApplies: true }
const sleep = (ms: number) => systemRuntime.sleep(ms)
const restarts = () => events.filter((event) => event.kind === 'ready').length - 1
const killServer = (signal: NodeJS.Signals) => process.kill(server.pid, signal)

/** The postmaster and everything it started. */
function processesOf(pid: number): number[] {
  const children = execFileSync('ps', ['-o', 'pid=', '--ppid', String(pid)], { encoding: 'utf8' })
  return [pid, ...children.trim().split(/\s+/).map(Number)]
}

async function restarted(times: number): Promise<void> {
  for (let i = 0; i < 600 && restarts() < times; i++) await sleep(20)
  expect(restarts()).toBeGreaterThanOrEqual(times)
}

describe('a database that is restarted under load', () => {
  test.each(['SIGKILL', 'SIGQUIT', 'SIGINT'] as const)('by %s loses nothing that was acknowledged', async (signal) => {
    await using commit = new GroupCommit({ database, runtime: systemRuntime, stages: [notes, strays] })
    const acknowledged: string[] = []
    let loading = true
    const clients = Array.from({ length: 50 }, async (_, client) => {
      for (let i = 0; loading; i++) {
        const id = `${client}-${i}`
        expect(await commit.submit([part(client % 2 ? notes : strays, id)])).toEqual({ applied: true })
        acknowledged.push(id)
      }
    })
    for (let times = 1; times <= 3; times++) {
      await sleep(150)
      killServer(signal)
      await restarted(times)
    }
    await sleep(150)
    loading = false
    await Promise.all(clients)
    const rows = await database.sql<{ id: string }[]>`select id from note`
    const kept = new Set(rows.map((row) => row.id))
    expect(acknowledged.filter((id) => !kept.has(id))).toEqual([])
    expect(acknowledged.length).toBeGreaterThan(50)
  })

  test('answers every read, at once with an error while it is away and well afterwards', async () => {
    let reading = true
    const answers = { ok: 0, failed: 0 }
    const readers = Array.from({ length: 40 }, async () => {
      while (reading) {
        const ok = await database.sql`select 1`.then(
          () => true,
          () => false,
        )
        if (ok) answers.ok++
        else answers.failed++
        if (!ok) await sleep(1)
      }
    })
    for (let times = 1; times <= 4; times++) {
      await sleep(100)
      killServer(times % 2 ? 'SIGKILL' : 'SIGINT')
      await restarted(times)
    }
    await sleep(300)
    reading = false
    await Promise.all(readers)
    await Promise.all(Array.from({ length: 40 }, () => database.ping()))
    expect(answers.ok).toBeGreaterThan(0)
    expect(answers.failed).toBeGreaterThan(0)
  })

  test('runs an administrative transaction once, also when it dies in the middle of it', async () => {
    let attempts = 0
    await database.transaction(async (tx) => {
      attempts++
      await tx`insert into note values ('once')`
      if (attempts === 1) killServer('SIGKILL')
      await tx`select pg_sleep(0.2)`
    })
    expect(attempts).toBe(2)
    expect(await database.sql`select id from note`).toEqual([{ id: 'once' }])
  })

  test('is listened to again by itself', async () => {
    const heard: string[] = []
    let connected = 0
    database.listen(
      'news',
      (text) => heard.push(text),
      () => connected++,
    )
    for (let i = 0; i < 200 && connected < 1; i++) await sleep(10)
    for (const [times, signal] of [
      [1, 'SIGKILL'],
      [2, 'SIGINT'],
      [3, 'SIGQUIT'],
    ] as const) {
      killServer(signal)
      await restarted(times)
      for (let i = 0; i < 300 && connected <= times; i++) await sleep(10)
      await database.sql`select pg_notify('news', ${signal})`
      for (let i = 0; i < 200 && heard.length < times; i++) await sleep(10)
    }
    expect(heard).toEqual(['SIGKILL', 'SIGINT', 'SIGQUIT'])
  })
})

describe('a database that stays away', () => {
  /** Thirty seconds pass in one. */
  const hasty: Runtime = {
    ...systemRuntime,
    monotonic: () => systemRuntime.monotonic() * 30,
    after: (ms, run, options) => systemRuntime.after(ms / 30, run, options),
    sleep: (ms, signal) => systemRuntime.sleep(ms / 30, signal),
  }

  test('and does not even refuse: writes end in database_unavailable, then go on when it is back', async () => {
    await using hastyDatabase = await openDatabase({ target: server.target, runtime: hasty })
    await using commit = new GroupCommit({ database: hastyDatabase, runtime: hasty, stages: [notes] })
    await commit.submit([part(notes, 'before')])
    const frozen = processesOf(server.pid)
    for (const pid of frozen) process.kill(pid, 'SIGSTOP')
    try {
      const late = Array.from({ length: 10 }, (_, i) => commit.submit([part(notes, `late-${i}`)]))
      for (const answer of await Promise.allSettled(late)) {
        expect(answer).toMatchObject({ status: 'rejected', reason: { refusal: { code: 'database_unavailable' } } })
      }
      await expect(hastyDatabase.transaction((tx) => tx`select 1`)).rejects.toMatchObject({
        refusal: { code: 'database_unavailable' },
      })
    } finally {
      for (const pid of frozen) process.kill(pid, 'SIGCONT')
    }
    expect(await commit.submit([part(notes, 'after')])).toEqual({ applied: true })
  })

  test('is said to be unavailable when the pool opens it', async () => {
    await server.stop()
    const opening = openDatabase({ target: server.target, runtime: systemRuntime, waitMs: 300 })
    await expect(opening).rejects.toMatchObject({ refusal: { code: 'database_unavailable', retryAfterMs: 1_000 } })
    await expect(database.ping()).rejects.toMatchObject({ refusal: { code: 'database_unavailable' } })
  })
})
