import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { loadSettings } from '#config'
import { systemRuntime } from '#runtime'
import { readOrCreateKeyFile } from '#storage'
import { FactPool } from '../testkit/fact-pool.ts'
import { LoggingProcess, leaf, numbers, pool } from '../testkit/logging-process.ts'
import { Program } from '../testkit/neighbourhood.ts'
import { refuseContradicted } from './cli/audit.ts'
import { runAuditAgainst } from './run-audit-against.ts'

let anna: FactPool
let bert: FactPool
let log: LoggingProcess
beforeAll(async () => {
  const shown = {
    checkpoint: () => log.log.checkpoint(),
    consistency: (from: number, to: number) => log.log.consistency(from, to),
    statements: async () => [],
  }
  ;[anna, bert] = await Promise.all([FactPool.open('anna', { log: shown }, { identity: pool }), FactPool.open('bert')])
  log = await LoggingProcess.start(anna.pool.db)
  // the key of the pool whose log this is
  await readOrCreateKeyFile(path.join(log.dataDir, 'pool.key'), 32, {
    ...systemRuntime,
    randomBytes: () => Buffer.alloc(32, 1),
  })
  await anna.bondWith(bert)
  await log.add(...numbers(300).map((n) => leaf(n)))
  await anna.exchange.show(bert.pool.id)
})
afterAll(async () => {
  await log[Symbol.asyncDispose]()
  await Promise.all([anna, bert].map((pool) => pool[Symbol.asyncDispose]()))
})

/** `lichen audit --against`, as the command line runs it on anna's machine. */
async function against(from: string, save?: string) {
  const settings = await loadSettings(
    {
      data: log.dataDir,
      databaseUrl: anna.pool.db.url,
      federationHttpHosts: new URL(bert.pool.url).host,
      federationPrivateRanges: '127.0.0.0/8',
    },
    {},
  )
  return refuseContradicted(await runAuditAgainst(settings, from, save))
}

/** The program itself, which asks the witness over the network. */
async function program(): Promise<{ code: number; out: string; err: string }> {
  const env = {
    DATABASE_URL: anna.pool.db.url,
    LICHEN_FEDERATION_HTTP_HOSTS: new URL(bert.pool.url).host,
    LICHEN_FEDERATION_PRIVATE_RANGES: '127.0.0.0/8',
  }
  const run = new Program(['audit', '--against', bert.pool.id, '--data', log.dataDir], env)
  return { code: await run.ended, out: run.stdout.join('\n'), err: run.stderr }
}

const saved = () => path.join(log.dataDir, 'seen.json')

test('a witness is asked by its id or its URL, and a log that was only added to holds all that it has seen', async () => {
  expect(await against(bert.pool.id, saved())).toMatchObject({ says: 'holds', held: 1, upTo: 300, unvouched: 0 })
  expect(await against(bert.pool.url)).toMatchObject({ says: 'holds', witness: bert.pool.id })
  expect(await against(saved())).toMatchObject({ says: 'holds', held: 1, witness: bert.pool.id })
  await expect(against(bert.pool.id, saved())).rejects.toMatchObject({ code: 'config_invalid' })
})

test('who is no peer, and what is no file of a witness, are refused', async () => {
  await expect(against(log.dataDir)).rejects.toMatchObject({
    code: 'invalid_request',
    message: `${log.dataDir} cannot be read (EISDIR).`,
  })
  await expect(against('ab'.repeat(32))).rejects.toMatchObject({ refusal: { code: 'not_found' } })
  const other = path.join(log.dataDir, 'other.json')
  await expect(against(other)).rejects.toMatchObject({ refusal: { code: 'not_found' } })
  writeFileSync(other, '{"seen":1}')
  await expect(against(other)).rejects.toMatchObject({ refusal: { code: 'invalid_request' } })
})

test('a history that was rewritten in the database is found by the witness and with what was saved, and the signed checkpoint is shown', async () => {
  expect(await program()).toMatchObject({ code: 0, err: '', out: expect.stringContaining('up to 300 leaves') })
  await anna.pool.db.database.transaction((tx) =>
    tx
      .unsafe(
        `set local session_replication_role = replica; truncate log_tiles;
         update log_leaves set hash = '\\x${'ab'.repeat(32)}' where index = 120`,
      )
      .simple(),
  )
  await expect(against(saved())).rejects.toMatchObject({
    code: 'history_changed',
    exitCode: 1,
    message: expect.stringContaining('a log of 300 leaves (generation 1)'),
  })
  const told = await program()
  expect(told).toMatchObject({ code: 1, err: expect.stringContaining('a log of 300 leaves (generation 1)') })
  expect(told.err).toContain(`lichen/${anna.pool.id}`)
})

test('a witness that cannot be asked is told from a log that was changed', async () => {
  await bert.pool.federation.office.demote(anna.pool.id, 1, 'owner.key')
  await expect(against(bert.pool.id)).rejects.toMatchObject({ code: 'peer_unreachable', exitCode: 3 })
})
