import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { generateIdentity } from '#crypto'
import { openCheckpoint } from '#protocol'
import { systemRuntime } from '#runtime'
import { type TestDatabase, temporaryFolder, testDatabase } from '#testkit'
import { admin, findings, LoggingProcess, leaf, numbers, pool } from '../testkit/logging-process.ts'
import { signGeneration } from './generation-statement.ts'
import { describeLoss, openGeneration } from './open-generation.ts'

let lost: TestDatabase
let backup: TestDatabase
let folder: ReturnType<typeof temporaryFolder>
/** The first 40 leaves are in the backup; the data directory has seen 50. */
beforeEach(async () => {
  folder = temporaryFolder()
  lost = await testDatabase()
  backup = await testDatabase()
  await using early = await LoggingProcess.start(backup)
  await early.add(...numbers(40).map((n) => leaf(n)))
  await using process = await LoggingProcess.start(lost, { dataDir: folder.path })
  await process.add(...numbers(40).map((n) => leaf(n)))
  await process.add(...numbers(10, 40).map((n) => leaf(n)))
})
afterEach(async () => {
  await Promise.all([lost.drop(), backup.drop()])
  folder[Symbol.dispose]()
})

const start = (db: TestDatabase) => LoggingProcess.start(db, { dataDir: folder.path })
const closed = () => ({ database: backup.database, signer: pool, dataDir: folder.path })

async function continued(): Promise<string> {
  const loss = await describeLoss(closed())
  if (!loss) throw new Error('nothing is lost')
  return openGeneration(closed(), signGeneration(loss, admin), admin.publicKey)
}

describe('a database older than the copy outside', () => {
  test('is refused, with what is missing and what to do', async () => {
    await expect(start(backup)).rejects.toMatchObject({
      refusal: {
        code: 'log_behind',
        message: expect.stringContaining('10 leaves'),
        fix: expect.stringContaining('lichen restore --accept-loss'),
      },
    })
  })

  test('and an empty one, too', async () => {
    await using empty = await testDatabase()
    await expect(start(empty)).rejects.toMatchObject({ refusal: { code: 'log_behind' } })
    const loss = await describeLoss({ ...closed(), database: empty.database })
    expect(loss).toMatchObject({ generation: 2, size: 0, last: { generation: 1, size: 50 } })
  })

  test('with other leaves than the copy is refused, even when it has more', async () => {
    await using other = await testDatabase()
    {
      await using process = await LoggingProcess.start(other)
      await process.add(...numbers(60).map((n) => leaf(n, 'another story')))
    }
    await expect(start(other)).rejects.toMatchObject({ refusal: { code: 'log_mismatch' } })
  })

  test('beside a copy that is none is refused', async () => {
    await writeFile(path.join(folder.path, 'checkpoint'), 'hello\n')
    await expect(start(lost)).rejects.toMatchObject({ refusal: { code: 'log_mismatch' } })
  })
})

describe('an admin who accepts the loss', () => {
  test('opens the next generation, whose first leaf says what was known', async () => {
    const note = await continued()
    const opened = openCheckpoint(note, pool.publicKey)
    expect(opened).toMatchObject({ ok: true, checkpoint: { origin: `lichen/${pool.id}/2`, size: 41 } })
    await using process = await start(backup)
    expect(await process.log.checkpoint()).toBe(note)
    await process.add(leaf(40, 'after the restore'))
    expect(await findings(process)).toEqual([])
    const [act] = await backup.sql<{ action: string; details: { note: string } }[]>`select action, details from acts`
    expect(act?.action).toBe('log.generation')
    expect(act?.details.note).toMatch(/\ngeneration 2\nsize 40\nlast 1 50 /)
  })

  test('can do so once, and not for a log that lost nothing', async () => {
    await continued()
    expect(await describeLoss(closed())).toBeUndefined()
    const again = openGeneration(closed(), 'anything', admin.publicKey)
    await expect(again).rejects.toMatchObject({ refusal: { code: 'conflict' } })
  })

  test('is refused with a note over another loss, or by another key', async () => {
    const loss = await describeLoss(closed())
    if (!loss) throw new Error('nothing is lost')
    const less = signGeneration({ ...loss, last: { ...loss.last, size: 41 } }, admin)
    await expect(openGeneration(closed(), less, admin.publicKey)).rejects.toThrow(/not the signed statement/)
    const stranger = signGeneration(loss, generateIdentity(systemRuntime))
    await expect(openGeneration(closed(), stranger, admin.publicKey)).rejects.toThrow(/not the signed statement/)
    await expect(start(backup)).rejects.toMatchObject({ refusal: { code: 'log_behind' } })
  })

  test('did so on another machine: a copy of the generation before is content with the signed record', async () => {
    const elsewhere = temporaryFolder()
    await using _ = { [Symbol.asyncDispose]: async () => elsewhere[Symbol.dispose]() }
    await (await LoggingProcess.start(lost, { dataDir: elsewhere.path }))[Symbol.asyncDispose]()
    await continued()
    await using process = await LoggingProcess.start(backup, { dataDir: elsewhere.path })
    expect(await process.log.checkpoint()).toContain('/2\n41\n')
  })
})

test('a higher generation without the signed record is refused', async () => {
  await continued()
  await backup.database.transaction((tx) =>
    tx.unsafe('set local session_replication_role = replica; delete from acts').simple(),
  )
  await using elsewhere = await LoggingProcess.start(lost)
  await expect(LoggingProcess.start(backup, { dataDir: elsewhere.dataDir })).rejects.toMatchObject({
    refusal: { code: 'log_mismatch' },
  })
})
