import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { parsePoolId } from '#protocol'
import { systemRuntime as runtime } from '#runtime'
import { testDatabase } from '#testkit'
import { claimDatabase } from './claim-database.ts'
import { loadPoolIdentity } from './pool-identity.ts'

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'lichen-keys-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

test('a pool keeps its identity, and only its owner has the owner key', async () => {
  const first = await loadPoolIdentity(folder, runtime)
  const again = await loadPoolIdentity(folder, runtime)
  expect(again.poolId).toBe(first.poolId)
  expect(again.staticKey.publicKey).toEqual(first.staticKey.publicKey)
  const owner = (await readFile(path.join(folder, 'owner.key'), 'utf8')).trim()
  expect([owner, `${owner}x`, '', 'é'].map(again.isOwner)).toEqual([true, false, false, false])
})

test('two programs that make the keys at once end up with the same', async () => {
  const ids = await Promise.all(Array.from({ length: 8 }, async () => (await loadPoolIdentity(folder, runtime)).poolId))
  expect(new Set(ids).size).toBe(1)
})

test('a key others may read is refused, and the fix is a command', async () => {
  await loadPoolIdentity(folder, runtime)
  const file = path.join(folder, 'pool.key')
  expect((await stat(file)).mode & 0o777).toBe(0o600)
  await chmod(file, 0o644)
  await expect(loadPoolIdentity(folder, runtime)).rejects.toMatchObject({
    refusal: { code: 'key_file_unsafe', fix: `chmod 600 '${file}'` },
  })
  await chmod(file, 0o600)
  await chmod(folder, 0o755)
  await expect(loadPoolIdentity(folder, runtime)).rejects.toMatchObject({
    refusal: { code: 'key_file_unsafe', fix: `chmod 700 '${folder}'` },
  })
})

test('a damaged key is refused, never replaced', async () => {
  await loadPoolIdentity(folder, runtime)
  const file = path.join(folder, 'pool.key')
  const text = await readFile(file, 'utf8')
  await writeFile(file, text.slice(0, 20))
  await expect(loadPoolIdentity(folder, runtime)).rejects.toMatchObject({ refusal: { code: 'key_file_unsafe' } })
  expect(await readFile(file, 'utf8')).toBe(text.slice(0, 20))
})

test('a database is never served with the keys of another pool', async () => {
  await using db = await testDatabase()
  const [ours, theirs] = [parsePoolId('aa'.repeat(32)), parsePoolId('bb'.repeat(32))]
  if (!ours || !theirs) return expect.fail()
  await claimDatabase(db.database, ours)
  await claimDatabase(db.database, ours)
  await expect(claimDatabase(db.database, theirs)).rejects.toMatchObject({ refusal: { code: 'config_invalid' } })
})
