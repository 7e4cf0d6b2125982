import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { CompactTree, leafHash, verifyConsistency, verifyInclusion } from '#crypto'
import { openCheckpoint } from '#protocol'
import { systemRuntime } from '#runtime'
import { GroupCommit, part, type Stage } from '#storage'
import { eventually, type TestDatabase, testDatabase } from '#testkit'
import { findings, LoggingProcess, leaf, numbers, pool } from '../testkit/logging-process.ts'
import { insertAct } from './acts.ts'

let db: TestDatabase
beforeEach(async () => {
  db = await testDatabase()
})
afterEach(() => db.drop())

function opened(note: string) {
  const verdict = openCheckpoint(note, pool.publicKey)
  if (!verdict.ok) throw new Error(verdict.message)
  return verdict.checkpoint
}

const storedLeaves = () => db.sql<{ index: bigint; hash: Buffer }[]>`select index, hash from log_leaves order by index`

test('a fresh log has a signed checkpoint that says it is empty', async () => {
  await using process = await LoggingProcess.start(db)
  expect(opened(await process.log.checkpoint())).toMatchObject({ origin: `lichen/${pool.id}/1`, size: 0 })
  expect(await findings(process)).toEqual([])
})

test('what is logged is proven under one signature for the whole flush', async () => {
  await using process = await LoggingProcess.start(db)
  const before = opened(await process.log.checkpoint())
  const outcomes = await process.add(...numbers(300).map((n) => leaf(n)))
  expect(outcomes.every((outcome) => outcome.applied)).toBe(true)
  expect(await db.sql`select number from log_checkpoints order by number`).toHaveLength(2)
  for (const n of [0, 1, 255, 256, 299]) {
    const proof = await process.log.prove('transfer', String(n))
    if (!proof) throw new Error('no proof')
    const { size, root } = opened(proof.checkpoint)
    expect(size).toBe(300)
    expect(verifyInclusion({ leaf: leafHash(leaf(n).data), index: proof.index, size, path: proof.path, root })).toBe(
      true,
    )
  }
  const after = opened(await process.log.checkpoint())
  const path = await process.log.consistency(before.size, after.size)
  expect(verifyConsistency({ oldSize: 0, oldRoot: before.root, newSize: after.size, newRoot: after.root, path })).toBe(
    true,
  )
  expect(await process.log.prove('transfer', 'unheard of')).toBeUndefined()
})

test('the same leaf again is applied and changes nothing; another under its name is refused', async () => {
  await using process = await LoggingProcess.start(db)
  await process.add(leaf(1))
  const note = await process.log.checkpoint()
  expect(await process.add(leaf(1), leaf(1))).toEqual([{ applied: true }, { applied: true }])
  expect(await process.log.checkpoint()).toBe(note)
  const [other, fresh, twin, liar] = await process.add(leaf(1, 'forged'), leaf(2), leaf(2), leaf(2, 'forged'))
  expect(other).toEqual({ applied: false, stage: 'log', code: 1 })
  expect([fresh, twin]).toEqual([{ applied: true }, { applied: true }])
  expect(liar).toEqual({ applied: false, stage: 'log', code: 1 })
  expect(await storedLeaves()).toHaveLength(2)
  expect(await findings(process)).toEqual([])
})

test('an operation refused by the log leaves nothing behind, and the others of its flush are logged', async () => {
  await using process = await LoggingProcess.start(db)
  await db.sql`create table mark (id text primary key)`
  const marks: Stage<string> = {
    name: 'marks',
    alwaysApplies: true,
    async apply(tx, ids) {
      await tx`insert into mark select * from unnest(${ids}::text[]) on conflict do nothing`
      return ids.map(() => 0)
    },
  }
  const { stage } = process.log
  await using commit = new GroupCommit({ database: db.database, runtime: systemRuntime, stages: [marks, stage] })
  await commit.submit([part(stage, leaf(1))])
  const outcomes = await Promise.all(
    [leaf(1, 'forged'), leaf(2), leaf(3)].map((one, i) => commit.submit([part(marks, `m${i}`), part(stage, one)])),
  )
  expect(outcomes.map((outcome) => outcome.applied)).toEqual([false, true, true])
  expect(await db.sql`select id from mark order by id`).toEqual([{ id: 'm1' }, { id: 'm2' }])
  expect(await storedLeaves()).toHaveLength(3)
  expect(await findings(process)).toEqual([])
})

describe('two pool processes on one database', () => {
  test('write one log, and every checkpoint goes on from the one before', async () => {
    await using one = await LoggingProcess.start(db)
    await using two = await LoggingProcess.start(db)
    const bursts = numbers(30).map(async (burst) => {
      await systemRuntime.sleep(burst % 7)
      const process = burst % 2 === 0 ? one : two
      return process.add(...numbers(11, burst * 11).map((n) => leaf(n)))
    })
    const outcomes = (await Promise.all(bursts)).flat()
    expect(outcomes.every((outcome) => outcome.applied)).toBe(true)
    const rows = await storedLeaves()
    expect(rows.map((row) => Number(row.index))).toEqual(numbers(330))
    const tree = new CompactTree()
    const roots = [tree.root()]
    for (const { hash } of rows) {
      tree.append(hash)
      roots.push(tree.root())
    }
    const notes = await db.sql<{ note: string }[]>`select note from log_checkpoints order by number`
    for (const { note } of notes) expect(opened(note).root).toEqual(roots[opened(note).size])
    expect(await findings(one)).toEqual([])
  })

  test('that log the same leaf log it once', async () => {
    await using one = await LoggingProcess.start(db)
    await using two = await LoggingProcess.start(db)
    for (let round = 0; round < 10; round++) {
      const same = numbers(20, round * 20).map((n) => leaf(n))
      const outcomes = await Promise.all([one.add(...same), two.add(...same.reverse())])
      expect(outcomes.flat().every((outcome) => outcome.applied)).toBe(true)
    }
    expect(await storedLeaves()).toHaveLength(200)
    expect(await findings(two)).toEqual([])
  })
})

test('a flush whose outcome nobody knows is sent again and logged once', async () => {
  let cut = 3
  const database = {
    async connect() {
      const connection = await db.database.connect()
      const flush = connection.flush.bind(connection)
      connection.flush = async (work) => {
        await flush(work)
        if (cut-- <= 0) return
        // committed, but the answer never came
        connection.destroy()
        throw Object.assign(new Error('the connection was lost'), { code: 'CONNECTION_CLOSED' })
      }
      return connection
    },
  }
  await using process = await LoggingProcess.start(db, { database })
  const outcomes = await process.add(...numbers(20).map((n) => leaf(n)))
  expect(outcomes.every((outcome) => outcome.applied)).toBe(true)
  expect(cut).toBeLessThan(0)
  expect(await storedLeaves()).toHaveLength(20)
  expect(await findings(process)).toEqual([])
})

describe('an act', () => {
  test('is kept with the deed and gets its leaf, once, whoever of two processes logs it', async () => {
    await using one = await LoggingProcess.start(db)
    await using two = await LoggingProcess.start(db)
    one.log.follow(one.commit)
    two.log.follow(two.commit)
    await db.database.transaction((tx) =>
      one.log.record(tx, { actor: 'owner.key', action: 'user.create', subject: 'u1', details: { role: 'user' } }),
    )
    await db.sql`with act as (${insertAct(db.sql, { actor: 'key:k', action: 'user.disable', subject: 'u1' })}) select 1`
    const logged = () => db.sql`select ref from log_leaves where kind = 'act' order by ref`
    await eventually('the leaves of two acts', async () => (await logged()).length >= 2)
    expect(await logged()).toEqual([{ ref: '1' }, { ref: '2' }])
    expect((await one.log.prove('act', '1'))?.index).toBeLessThan(2)
    expect(await findings(one)).toEqual([])
    expect([...one.problems, ...two.problems]).toEqual([])
  })

  test('that was rolled back with its deed is never logged', async () => {
    await using process = await LoggingProcess.start(db)
    const act = { actor: 'owner.key', action: 'user.create', subject: 'u1' }
    const failed = db.database.transaction(async (tx) => {
      await insertAct(tx, act)
      throw new Error('the deed failed')
    })
    await expect(failed).rejects.toThrow('the deed failed')
    await db.sql`${insertAct(db.sql, act)}`
    await process.log.keep(process.commit)
    expect(await db.sql`select ref from log_leaves`).toEqual([{ ref: '2' }])
  })

  test('is not taken with details beyond its limit', () => {
    const details = { text: 'x'.repeat(20_000) }
    expect(() => insertAct(db.sql, { actor: 'a', action: 'b', subject: '', details })).toThrow(RangeError)
  })
})

describe('the database refuses to rewrite history', () => {
  const tables = ['log_leaves', 'log_checkpoints', 'acts', 'log_head']
  test.each(tables)('%s: no delete, no truncate', async (table) => {
    await using process = await LoggingProcess.start(db)
    await process.add(leaf(1))
    await expect(db.sql.unsafe(`delete from ${table}`)).rejects.toThrow('append-only')
    await expect(db.sql.unsafe(`truncate ${table}`)).rejects.toThrow('append-only')
  })

  test('no update but growth', async () => {
    await using process = await LoggingProcess.start(db)
    await process.add(leaf(1))
    await expect(db.sql`update log_leaves set ref = 'other'`).rejects.toThrow('append-only')
    await expect(db.sql`update log_checkpoints set note = ''`).rejects.toThrow('append-only')
    await expect(db.sql`update log_head set size = 0, frontier = '{}'`).rejects.toThrow('the log only grows')
    await expect(db.sql`update acts set actor = 'nobody'`).rejects.toThrow('append-only')
  })
})

describe('the copy outside the database', () => {
  const copyOf = (process: LoggingProcess) => readFile(path.join(process.dataDir, 'checkpoint'), 'utf8')

  test('follows the log', async () => {
    await using process = await LoggingProcess.start(db)
    process.log.follow(process.commit)
    expect(opened(await copyOf(process)).size).toBe(0)
    await process.add(leaf(1), leaf(2))
    await eventually('the copy', async () => opened(await copyOf(process)).size === 2)
  })

  test('is written at the end, too', async () => {
    await using folder = await LoggingProcess.start(db)
    await folder.add(leaf(1))
    await folder.log[Symbol.asyncDispose]()
    expect(opened(await copyOf(folder)).size).toBe(1)
  })
})
