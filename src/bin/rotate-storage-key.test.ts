import { existsSync, statSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Settings } from '#config'
import { loadPoolIdentity } from '#identity'
import { epochCommitment } from '#protocol'
import { systemRuntime as runtime } from '#runtime'
import { bytes, uuids } from '#storage'
import { sealingKey } from '#verification'
import { temporaryFolder } from '../testkit/temporary-folder.ts'
import { type TestDatabase, testDatabase } from '../testkit/test-database.ts'
import { epochKeyLabel } from '../verification/epochs.ts'
import { transcriptLabel } from '../verification/intake.ts'
import { verificationLimits } from '../verification/limits.ts'
import { seal, unseal } from '../verification/sealing.ts'
import { finishStorageKey, rotateStorageKey } from './rotate-storage-key.ts'

const epochs = [490_001, 490_002, 490_003]
const answers = Array.from({ length: verificationLimits.resealedAtOnce + 3 }, () => runtime.uuid())
const folder = temporaryFolder()
let db: TestDatabase
const settings = () => ({ data: folder.path, databaseUrl: db.url }) as Settings
/** What counts on the disk now, as the next start of the pool reads it. */
const keyNow = async () => {
  const { sealing, identity } = await loadPoolIdentity(folder.path, runtime)
  return sealing ?? sealingKey(identity.seed)
}

beforeAll(async () => {
  db = await testDatabase()
  const key = await keyNow()
  for (const epoch of epochs) {
    const secret = runtime.randomBytes(32)
    const sealed = seal(key, epochKeyLabel(epoch), secret, runtime)
    await db.sql`insert into epochs (epoch, commitment, sealed) values (${epoch}, ${epochCommitment(secret)}, ${sealed})`
  }
  const wraps = answers.map((id) => seal(key, transcriptLabel(id, 0, 1), runtime.randomBytes(32), runtime))
  await db.sql`
    insert into transcripts (job_id, choice, attempt, wrap, body, kept_at)
    select id, 0, 1, wrap, '', now() from unnest(${uuids(answers)}::uuid[], ${bytes(wraps)}::bytea[]) as n (id, wrap)`
})
afterAll(async () => {
  await db.drop()
  folder[Symbol.dispose]()
})

/** How many of the sealed things a key opens; of an epoch's only what was committed to counts. */
async function opens(key: Buffer): Promise<number> {
  const kept = await db.sql<{ id: string; wrap: Buffer }[]>`select job_id as id, wrap from transcripts`
  const hours = await db.sql<{ epoch: bigint; sealed: Buffer; commitment: Buffer }[]>`select * from epochs`
  const told = hours.filter(({ epoch, sealed, commitment }) => {
    const secret = unseal(key, epochKeyLabel(Number(epoch)), sealed)
    return secret && epochCommitment(secret).equals(commitment)
  })
  return told.length + kept.filter(({ id, wrap }) => unseal(key, transcriptLabel(id, 0, 1), wrap)).length
}
const all = epochs.length + answers.length

test('everything that lies sealed opens under the new key, and nothing under the old one', async () => {
  const old = await keyNow()
  expect(await opens(old)).toBe(all)
  await rotateStorageKey(settings())
  const next = await keyNow()
  expect(next.equals(old)).toBe(false)
  expect([await opens(old), await opens(next)]).toEqual([0, all])
  expect(statSync(path.join(folder.path, 'sealing.key')).mode & 0o777).toBe(0o600)
})

test.each(['next key', 'database', 'key file', 'done'])(
  'cut off before the step “%s” it is gone on with by the next start, and nothing is lost',
  async (fatal) => {
    const cut = rotateStorageKey(settings(), (step) => {
      if (step === fatal) throw new Error('the power went out')
    })
    await expect(cut).rejects.toThrow('the power went out')
    await finishStorageKey(folder.path, db.database)
    expect(await opens(await keyNow())).toBe(all)
    expect(existsSync(path.join(folder.path, 'sealing.key.next'))).toBe(false)
  },
)

test('what lies under the new key already is not lost with an epoch that opens under none', async () => {
  const cut = rotateStorageKey(settings(), (step) => {
    if (step === 'key file') throw new Error('the power went out')
  })
  await expect(cut).rejects.toThrow('the power went out')
  const stray = seal(runtime.randomBytes(32), epochKeyLabel(490_005), runtime.randomBytes(32), runtime)
  await db.sql`insert into epochs (epoch, commitment, sealed) values (490005, ${epochCommitment(runtime.randomBytes(32))}, ${stray})`
  await finishStorageKey(folder.path, db.database)
  expect(await opens(await keyNow())).toBe(all)
  const superuser = await db.database.connect()
  await superuser.transaction(async (tx) => {
    await tx`set local session_replication_role = replica`
    await tx`delete from epochs where epoch = 490005`
  })
  await superuser.close()
})

test('where an epoch’s key is sealed under a key that is not here nothing is changed', async () => {
  const before = await keyNow()
  const secret = runtime.randomBytes(32)
  const foreign = seal(runtime.randomBytes(32), epochKeyLabel(490_004), secret, runtime)
  await db.sql`insert into epochs (epoch, commitment, sealed) values (490004, ${epochCommitment(secret)}, ${foreign})`
  await expect(rotateStorageKey(settings())).rejects.toThrow('nothing was changed')
  expect((await keyNow()).equals(before)).toBe(true)
  await finishStorageKey(folder.path, db.database) // the pool starts all the same
  expect(await opens(before)).toBe(all)
})

test('sealing anew is all that may be done to an epoch that is not told', async () => {
  const change = (what: string) => db.sql.unsafe(`update epochs set ${what} where epoch = 490001`)
  for (const what of ["commitment = '\\x00'", 'epoch = 1', "disclosure = decode(repeat('00', 32), 'hex')"])
    await expect(change(what)).rejects.toThrow(/stays as it is|check constraint/)
})
