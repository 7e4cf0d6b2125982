import { execFile } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { childProgram } from '#config'
import { identityFromSeed, sha256 } from '#crypto'
import { claimDatabase, loadPoolIdentity } from '#identity'
import { findReceipt } from '#jobs'
import { readPoolKeys, TransparencyLog } from '#log'
import { openCheckpoint, openSuccession, verifyReceipt } from '#protocol'
import { systemRuntime as runtime } from '#runtime'
import { eventually } from '#testkit'
import { type BusyPool, busyPool } from '../testkit/busy-pool.ts'
import { auditPool } from './audit-pool.ts'
import { finishSuccession } from './finish-succession.ts'

let busy: BusyPool
let receipts: { id: string; file: Buffer }[] = []
beforeAll(async () => {
  busy = await busyPool()
})
afterAll(() => busy?.[Symbol.asyncDispose]())

/** What the next start of the pool does with its keys, and then the whole audit. */
async function startAgain() {
  const { db, dataDir } = busy
  await finishSuccession(dataDir, db.database)
  const pool = await loadPoolIdentity(dataDir, runtime)
  await claimDatabase(db.database, pool.poolId)
  const { poolId, identity: signer } = pool
  const log = await TransparencyLog.open({ database: db.database, runtime, poolId, signer, dataDir })
  const audit = await auditPool(db.database, dataDir, { poolKey: signer.publicKey })
  return { ...pool, log, audit }
}

async function receiptOf(log: TransparencyLog, id: string): Promise<Buffer> {
  const prove = log.proveAll.bind(log)
  const found = await findReceipt({ sql: busy.db.sql, keys: log.keys, prove }, id)
  if (found?.state !== 'ready') throw new Error(`no receipt of ${id}`)
  return found.file
}

test('while requests are not settled the key stays; after a start and a stop they are', async () => {
  const { db, dataDir, start } = busy
  const refused = start(['rotate', 'pool', '--json', '--data', dataDir])
  expect(await refused.ended).toBe(1)
  expect(refused.stderr).toContain('not settled under the old key')
  const program = start(['pool', '--json', '--port', '0', '--data', dataDir])
  await program.firstLine()
  const running = start(['rotate', 'pool', '--json', '--data', dataDir])
  expect(await running.ended).toBe(1)
  expect(running.stderr).toContain('data_in_use')
  await eventually('what was cut off to be settled', async () => {
    const [row] = await db.sql<{ open: bigint }[]>`
      select (select count(*) from jobs where ended_at is null) + (select count(*) from holds) as open`
    return row?.open === 0n
  })
  await program.stop()
  const { log } = await startAgain()
  const rows = await db.sql<{ id: string }[]>`
    select j.id from jobs j join receipts r on r.job_id = j.id where j.state = 'completed' limit 3`
  receipts = await Promise.all(rows.map(async ({ id }) => ({ id, file: await receiptOf(log, id) })))
  expect(receipts.length).toBe(3)
  await log[Symbol.asyncDispose]()
})

const steps = ['sealing key', 'next key', 'database', 'key file', 'rename', 'done']
test.each(steps)(
  'killed before the step “%s” it is the old pool or the new one, and its history holds',
  async (step) => {
    const { db, dataDir } = busy
    const before = await loadPoolIdentity(dataDir, runtime)
    const { file, execArgv } = childProgram('testkit/die-while-rotating')
    const died = promisify(execFile)(process.execPath, [...execArgv, file, dataDir, db.url, step])
    const how = await died.catch(({ signal, stderr }: { signal: string; stderr: string }) => ({ signal, stderr }))
    expect(how).toEqual({ signal: 'SIGKILL', stderr: '' })
    const after = await startAgain()
    expect(after.audit).toEqual(expect.objectContaining({ ok: true }))
    expect(after.poolId === before.poolId).toBe(['sealing key', 'next key', 'database'].includes(step))
    expect(after.sealing === undefined).toBe(step === 'sealing key')
    expect(existsSync(path.join(dataDir, 'pool.key.next'))).toBe(false)
    expect(statSync(path.join(dataDir, 'pool.key')).mode & 0o777).toBe(0o600)
    await after.log[Symbol.asyncDispose]()
  },
)

test('receipts of before verify as they did, the old file and the same asked for anew; under the old id, not the new one', async () => {
  const { log, poolId } = await startAgain()
  const first = sha256(log.keys.first).toString('hex')
  expect(first).not.toBe(poolId)
  for (const { id, file } of receipts) {
    expect(verifyReceipt(file, { poolId: first }).ok).toBe(true)
    const again = await receiptOf(log, id)
    expect(verifyReceipt(again, { poolId: first }).ok).toBe(true)
    expect(verifyReceipt(again, { poolId }).ok).toBe(false)
  }
  await log[Symbol.asyncDispose]()
})

test('each key names the next one, the log goes on under it, and the old key is nowhere on the disk', async () => {
  const { db, dataDir } = busy
  const { log, identity } = await startAgain()
  const keys = await readPoolKeys(db.sql, identity.publicKey)
  expect(keys.earlier.length).toBe(3)
  for (const [at, { note, publicKey }] of keys.earlier.entries()) {
    const opened = openSuccession(note)
    expect(opened.ok && opened.succession.from).toEqual(publicKey)
    expect(opened.ok && opened.succession.to).toEqual(keys.all[at + 1])
  }
  const note = await log.checkpoint()
  expect(openCheckpoint(note, identity.publicKey)).toMatchObject({ ok: true, checkpoint: { generation: 4 } })
  expect(readFileSync(path.join(dataDir, 'checkpoint'), 'utf8')).toBe(note)
  const seeds = readdirSync(dataDir)
    .map((name) => path.join(dataDir, name))
    .filter((file) => statSync(file).isFile() && statSync(file).size < 100)
    .map((file) => Buffer.from(readFileSync(file, 'utf8').trim(), 'base64url'))
    .filter(({ length }) => length === 32)
  expect(seeds.length).toBeGreaterThan(3)
  for (const seed of seeds)
    expect(keys.earlier.map(({ publicKey }) => publicKey)).not.toContainEqual(identityFromSeed(seed).publicKey)
  await log[Symbol.asyncDispose]()
})

test('a pool with a new key serves with what it sealed before, and its own worker comes along', async () => {
  const { dataDir, start } = busy
  const program = start(['up', '--json', '--port', '0', '--data', dataDir])
  const ready = await program.firstLine()
  const body = JSON.stringify({ model: 'lichen-demo', messages: [{ role: 'user', content: '3+4=?' }] })
  const answer = await fetch(`${ready.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${ready.api_key}`, 'content-type': 'application/json' },
    body,
  })
  expect(answer.status).toBe(200)
  expect(program.stderr).not.toContain('epochs')
  expect(await program.stop()).toBe(0)
  const { audit, log } = await startAgain()
  expect(audit).toEqual(expect.objectContaining({ ok: true }))
  await log[Symbol.asyncDispose]()
})

test('a successor that the old key has not signed is found by the audit', async () => {
  const { db, dataDir } = busy
  const { identity } = await loadPoolIdentity(dataDir, runtime)
  const connection = await db.database.connect()
  await connection
    .transaction(async (tx) => {
      await tx.unsafe(`set local session_replication_role = replica;
        update acts set details = jsonb_set(details, '{note}', to_jsonb(replace(details ->> 'note', 'generation 2', 'generation 9')))
         where action = 'pool.succession'`)
      await expect(readPoolKeys(tx, identity.publicKey)).rejects.toMatchObject({ refusal: { code: 'log_mismatch' } })
      throw new Error('undone')
    })
    .catch((error: Error) => expect(error.message).toBe('undone'))
  await connection.close()
})
