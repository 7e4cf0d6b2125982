import { copyFileSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { verifyReceipt } from '#protocol'
import { systemRuntime } from '#runtime'
import { openDatabase, runningPostgres } from '#storage'
import { eventually, Neighbourhood } from '#testkit'

const town = new Neighbourhood()
const inTown = (name: string) => path.join(town.folder, name)
const config = { XDG_CONFIG_HOME: inTown('config') }
const early = inTown('early.tar.gz')
const late = inTown('late.tar.gz')
const receipts = new Map<string, Buffer>()
let balances: unknown
const block = ['workers', 'block', '--address', '192.0.2.0/24', '--because', 'stolen laptops'] as const

beforeAll(() => town.start('up'))
afterAll(() => town[Symbol.asyncDispose]())

async function lichen(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const program = town.run(args, config)
  const code = await program.ended
  return { code, out: program.stdout.join('\n'), err: program.stderr }
}

async function ask(content: string): Promise<void> {
  const answer = await fetch(`${town.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${town.apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'lichen-demo', messages: [{ role: 'user', content }], max_tokens: 60 }),
  })
  expect(answer.status).toBe(200)
  await answer.arrayBuffer()
  const id = answer.headers.get('x-lichen-receipt') ?? ''
  receipts.set(id, await eventually('its receipt', () => receipt(id)))
}

async function receipt(id: string): Promise<Buffer | undefined> {
  const answer = await fetch(`${town.url}/v1/receipts/${id}`, { headers: { authorization: `Bearer ${town.apiKey}` } })
  return answer.status === 200 ? Buffer.from(await answer.arrayBuffer()) : undefined
}

/** Answers that are kept, sealed, until somebody has looked at them; before `also` is added to them. */
async function kept(also?: string): Promise<bigint | undefined> {
  await using database = await books()
  const [row] = await database.sql<{ kept: bigint }[]>`select count(*) as kept from transcripts`
  if (also) {
    await database.sql`
      insert into transcripts (job_id, choice, attempt, wrap, body, kept_at)
      values (gen_random_uuid(), 0, 0, decode(repeat('aa', 60), 'hex'), ${Buffer.from(also)}, now())`
  }
  return row?.kept
}

/** The database of the running pool. */
async function books() {
  const target = await runningPostgres(town.dataDir)
  if (!target) throw new Error('the database does not run')
  return openDatabase({ target, runtime: systemRuntime })
}

/** Every account of the running pool, when nothing is held any more. */
async function accounts(): Promise<unknown> {
  await using database = await books()
  await eventually('nothing to be held', async () => {
    const [row] = await database.sql<{ open: bigint }[]>`select count(*) as open from holds`
    return row?.open === 0n
  })
  return [...(await database.sql`select name, posted, held, seq from accounts order by name`)]
}

test('a backup is made while the pool answers', async () => {
  let going = true
  const load = Promise.all(
    Array.from({ length: 6 }, async (_, n) => {
      while (going) await ask(`${n}+3=?`)
    }),
  )
  await eventually('answers', () => receipts.size >= 10)
  const made = await lichen('backup', early, '--with-keys', '--json', '--data', town.dataDir)
  expect(made).toMatchObject({ code: 0, err: '' })
  expect(JSON.parse(made.out)).toMatchObject({ file: early, with_keys: true })
  expect(statSync(early).mode & 0o777).toBe(0o600)
  const then = receipts.size
  await eventually('more answers', () => receipts.size >= then + 10)
  going = false
  await load
  expect((await lichen(...block, '--data', town.dataDir)).code).toBe(0)
  const blocked = async () => (await lichen('events', '--type', 'worker_blocked', '--data', town.dataDir)).out
  await eventually('the event to be on record', async () => (await blocked()).includes('stolen laptops'))
  balances = await accounts()
  // a backup would outlive the day after which their keys are destroyed
  await kept('sealed: tell me about lichen')
  expect((await lichen('backup', late, '--data', town.dataDir)).out).toMatch(/The keys of the pool are not in it/)
  expect(await lichen('backup', late, '--data', town.dataDir)).toMatchObject({
    code: 1,
    err: expect.stringContaining('is there already'),
  })
})

test('a backup that cannot be written says so in a sentence', async () => {
  const nowhere = path.join(town.folder, 'nowhere', 'pool.tar.gz')
  const { code, out, err } = await lichen('backup', nowhere, '--data', town.dataDir)
  expect({ code, out }).toEqual({ code: 1, out: '' })
  expect(err).toMatch(/^lichen: \S+ cannot be written \(ENOENT\)\.\n {2}Name a file in a folder of your own/)
})

test('the database is lost and restored: the pool starts, balances are equal, receipts are there and verify', async () => {
  const refused = await lichen('restore', late, '--data', town.dataDir)
  expect(refused).toMatchObject({ code: 1, err: expect.stringContaining('already runs a pool') })
  await town.pool?.stop()
  expect((await lichen('restore', late, '--data', town.dataDir)).err).toMatch(/The database is not empty/)
  rmSync(path.join(town.dataDir, 'postgres'), { recursive: true })
  rmSync(path.join(town.dataDir, 'postgres.location'), { force: true })
  const restored = await lichen('restore', late, '--data', town.dataDir)
  expect(restored).toMatchObject({ code: 0, err: '' })
  expect(restored.out).toMatch(/^Restored\. Everything is as it was logged\./)
  await town.start('up')
  expect(await kept()).toBe(0n)
  expect(await accounts()).toEqual(balances)
  for (const [id, before] of receipts) {
    expect(verifyReceipt(before).ok).toBe(true)
    const now = await receipt(id)
    if (!now) throw new Error(`the receipt ${id} is gone`)
    expect(verifyReceipt(now).ok).toBe(true)
    expect(JSON.parse(now.toString()).statement).toBe(JSON.parse(before.toString()).statement)
  }
  expect((await lichen('workers', 'blocks', '--data', town.dataDir)).out).toContain('192.0.2.0/24')
  expect((await lichen('events', '--type', 'worker_blocked', '--data', town.dataDir)).out).toContain('stolen laptops')
  await ask('1+1=?')
  expect(await lichen('audit', '--data', town.dataDir)).toMatchObject({ code: 0, err: '' })
})

test('what is damaged, cut short, or of another pool is not restored', async () => {
  const whole = readFileSync(late)
  const flipped = Buffer.from(whole)
  flipped[whole.length >> 1] = (flipped[whole.length >> 1] ?? 0) ^ 1
  const data = inTown('nowhere')
  mkdirSync(data, { mode: 0o700 })
  copyFileSync(path.join(town.dataDir, 'pool.key'), path.join(data, 'pool.key'))
  for (const [name, bytes] of [
    ['flipped', flipped],
    ['cut', whole.subarray(0, whole.length - 100)],
    ['other', Buffer.from('no backup')],
  ] as const) {
    writeFileSync(inTown(name), bytes)
    expect(await lichen('restore', inTown(name), '--data', data)).toMatchObject({ code: 1 })
  }
  writeFileSync(path.join(data, 'pool.key'), `${Buffer.alloc(32, 9).toString('base64url')}\n`)
  expect((await lichen('restore', late, '--data', data)).err).toMatch(/The backup is of pool/)
  writeFileSync(path.join(data, 'pool.key'), readFileSync(path.join(town.dataDir, 'pool.key')))
  expect(await lichen('restore', late, '--data', data)).toMatchObject({ code: 0 })
})

test('an old backup is refused, by restore and by start, until an admin signs for the loss; then the generation shows', async () => {
  const other = inTown('other-machine')
  await eventually('the outside copy', () => statSync(path.join(town.dataDir, 'checkpoint')).size > 0)
  await town.pool?.stop()
  const newest = path.join(town.dataDir, 'checkpoint')
  mkdirSync(other, { mode: 0o700 })
  copyFileSync(newest, path.join(other, 'checkpoint'))
  const behind = await lichen('restore', early, '--data', other)
  expect(behind.code).toBe(1)
  expect(behind.err).toMatch(/\d+ leaves of the log would be lost: the last checkpoint that was written down has \d+/)
  rmSync(path.join(other, 'checkpoint'))
  // the keys come with this backup
  expect(await lichen('restore', early, '--data', other)).toMatchObject({ code: 0 })
  expect(statSync(path.join(other, 'pool.key')).mode & 0o777).toBe(0o600)
  copyFileSync(newest, path.join(other, 'checkpoint'))
  const refused = await lichen('up', '--json', '--port', '0', '--data', other)
  expect(refused).toMatchObject({ code: 1, out: '', err: expect.stringMatching(/leaves of the log would be lost/) })
  const unsigned = await lichen('restore', '--accept-loss', '--data', other)
  expect(unsigned).toMatchObject({ code: 1, err: expect.stringContaining('A loss is signed by an admin.') })
  await lichen('admin-key', 'new', 'ada', '--no-register', '--data', other)
  const accepted = await lichen('restore', '--accept-loss', '--signed-by', 'ada', '--data', other)
  expect(accepted).toMatchObject({ code: 0, err: '' })
  expect(accepted.out).toMatch(/The log goes on as generation 2; \d+ leaves are lost/)
  const [, lost] = /generation 2; (\d+) leaves/.exec(accepted.out) ?? []
  expect(accepted.out).toContain(`They end ${lost} before the checkpoint outside the database (`)
  expect(accepted.out).not.toContain('There is no checkpoint outside')
  const pool = town.run(['up', '--json', '--port', '0', '--data', other])
  const { url } = await pool.firstLine()
  const checkpoint = await (await fetch(`${url}/v1/log/checkpoint`)).text()
  expect(checkpoint).toMatch(/^lichen\/[0-9a-f]{64}\/2\n/)
  await eventually('every act to be logged', async () => (await lichen('audit', '--data', other)).code === 0)
  expect(await pool.stop()).toBe(0)
})

test('who keeps all keys but sealing.key is told by backup, by restore and at start, and loses nothing', async () => {
  await town.stop()
  expect(await lichen('rotate', 'storage', '--data', town.dataDir)).toMatchObject({ code: 0 })
  const backup = inTown('rotated.tar.gz')
  const made = await lichen('backup', backup, '--data', town.dataDir)
  expect(made.out).toContain('keep a copy of pool.key, session.key, owner.key and sealing.key elsewhere')
  const other = inTown('three-keys')
  mkdirSync(other, { mode: 0o700 })
  const take = (name: string) => copyFileSync(path.join(town.dataDir, name), path.join(other, name))
  for (const name of ['pool.key', 'session.key', 'owner.key']) take(name)
  const restored = await lichen('restore', backup, '--data', other)
  expect(restored.code).toBe(0)
  expect(restored.out).toContain('Put the pool’s `sealing.key` into the data folder')
  const refused = await lichen('up', '--json', '--port', '0', '--data', other)
  expect(refused).toMatchObject({ code: 1, out: '', err: expect.stringContaining('`sealing.key`') })
  take('sealing.key')
  const pool = town.run(['up', '--json', '--port', '0', '--data', other])
  expect(await pool.firstLine()).toMatchObject({ ready: true })
  expect(await pool.stop()).toBe(0)
})
