import { randomBytes } from 'node:crypto'
import { copyFileSync, mkdirSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openCheckpoint } from '#protocol'
import { eventually, Neighbourhood, type TestDatabase, testDatabase } from '#testkit'
import { ForeignPool } from '../../testkit/foreign-pool.ts'
import { freePort } from '../../testkit/free-port.ts'

/** A pool whose admin moves it from one machine to the next: each has a folder and a database of its own. */
class Moving extends Neighbourhood {
  id = ''
  machine = 'first'
  readonly dbs: TestDatabase[] = []
  #env: Record<string, string> = {}
  #args: string[] = []

  override get dataDir(): string {
    return path.join(this.folder, this.machine)
  }

  async settle(name: string, port: number, hosts: string): Promise<void> {
    const url = `http://127.0.0.1:${port}`
    this.url = url
    this.#args = ['--public-url', url, '--federation-name', name]
    this.#env = { LICHEN_FEDERATION_HTTP_HOSTS: hosts, LICHEN_FEDERATION_PRIVATE_RANGES: '127.0.0.0/8' }
    await this.moveTo('first')
    await this.begin()
  }

  async moveTo(machine: string): Promise<void> {
    const db = await testDatabase()
    this.dbs.push(db)
    await db.sql.unsafe('drop schema public cascade; create schema public').simple()
    this.machine = machine
    this.#env = { ...this.#env, DATABASE_URL: db.url, XDG_CONFIG_HOME: path.join(this.folder, 'config') }
    mkdirSync(this.dataDir, { recursive: true, mode: 0o700 })
  }

  async begin(): Promise<void> {
    await this.start('pool', this.#args, this.#env)
    this.id = ((await (await fetch(`${this.url}/v1/federation/info`)).json()) as { atom_id: string }).atom_id
  }

  async lichen(...args: string[]): Promise<{ code: number; out: string; err: string }> {
    const program = this.run([...args, '--data', this.dataDir], this.#env)
    return { code: await program.ended, out: program.stdout.join('\n'), err: program.stderr }
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await super[Symbol.asyncDispose]()
    for (const db of this.dbs) await db.drop()
  }

  /** Changes how far it trusts a pool: an act for its log, and a reason to show that to its witnesses. */
  async act(): Promise<void> {
    const { data } = await this.admin<{ data: { id: string; trust: number }[] }>('GET', '/federation/peers')
    const isTrusted = data.some(({ id, trust }) => id === foreign.id && trust === 2)
    const [act, level] = isTrusted ? ['demote', 1] : ['promote', 2]
    await this.admin('POST', `/federation/peers/${foreign.id}/${act}`, { level })
  }
}

const [anna, bert] = [new Moving(), new Moving()]
const foreign = new ForeignPool(randomBytes(32))
/** The copy of anna's newest checkpoint that lies outside her database, and yesterday's backup. */
const copy = path.join(anna.folder, 'copy')
const backup = path.join(anna.folder, 'yesterday.tar.gz')

beforeAll(async () => {
  await foreign.listen()
  const ports = [await freePort(), await freePort()] as const
  const hosts = [...ports.map((port) => `127.0.0.1:${port}`), new URL(foreign.url).host].join(',')
  await anna.settle('anna', ports[0], hosts)
  await bert.settle('bert', ports[1], hosts)
  await anna.lichen('fed', 'add', bert.url)
  await anna.lichen('fed', 'add', foreign.url, '--id', foreign.id)
  await anna.bond(bert.id, (await bert.adminKey()).public_key)
  await bert.bond(anna.id, (await anna.adminKey()).public_key)
}, 120_000)
afterAll(() => Promise.all([anna, bert, foreign].map((pool) => pool[Symbol.asyncDispose]())))

/** The newest of anna's checkpoints that bert has signed. */
async function signed(): Promise<{ generation: number; size: number } | undefined> {
  const { data } = await bert.admin<{ data: { pool: string | null; generation: number; size: number }[] }>(
    'GET',
    '/federation/witnesses',
  )
  return data.find(({ pool }) => pool === anna.id)
}

/** What bert's human is told about anna. */
async function told(): Promise<string[]> {
  const { data } = await bert.admin<{ data: { kind: string; peer: string }[] }>('GET', '/federation/notices')
  return data.filter(({ peer }) => peer === anna.id).map(({ kind }) => kind)
}

/** Anna's people act, and she shows it, until something has come of it. */
async function actUntil<T>(what: string, look: () => Promise<T | undefined | false>): Promise<T> {
  const until = Date.now() + 90_000
  while (Date.now() < until) {
    await anna.act()
    const found = await eventually(what, look, 3_000).catch(() => undefined)
    if (found) return found
  }
  throw new Error(`nothing came of it: ${what}\n${anna.pool?.stderr.slice(-2_000)}`)
}

test('yesterday’s backup, put back as if nothing had been, is not signed by the witness, which proves the fork', async () => {
  expect(await anna.lichen('backup', backup, '--with-keys')).toMatchObject({ code: 0, err: '' })
  const before = await actUntil('bert to sign', signed)
  for (const _ of [1, 2, 3, 4, 5, 6]) await anna.act()
  const { size } = await actUntil('bert to sign more', async () => {
    const now = await signed()
    return now && now.size > before.size + 5 && now
  })
  await anna.pool?.stop()
  copyFileSync(path.join(anna.dataDir, 'checkpoint'), copy)

  await anna.moveTo('second')
  expect(await anna.lichen('restore', backup)).toMatchObject({ code: 0, err: '' })
  await anna.begin()
  await eventually('bert to be shown fewer leaves', async () => (await told()).includes('rollback'))
  await actUntil('another history of as many leaves', async () => (await told()).includes('fork'))
  expect(await signed()).toEqual(expect.objectContaining({ generation: 1, size }))
  const proof = await eventually('the proof for all to see', async () => {
    const { data } = await bert.admin<{ data: { author: string; name: string; value: string }[] }>(
      'GET',
      '/federation/facts?kind=fork',
    )
    return data[0]
  })
  expect(proof).toMatchObject({ author: bert.id, name: anna.id })
  const key = Buffer.from((await anna.admin<{ public_key: string }>('GET', '/federation')).public_key, 'base64url')
  const { first, second } = JSON.parse(proof.value) as { first: string; second: string }
  for (const note of [first, second]) expect(openCheckpoint(note, key)).toMatchObject({ ok: true })
  expect(await anna.lichen('audit')).toMatchObject({ code: 0 })
  expect(await anna.lichen('audit', '--against', bert.id)).toMatchObject({
    code: 1,
    err: expect.stringMatching(/has seen, a log of \d+ leaves \(generation 1\)/),
  })
}, 180_000)

test('a loss that an admin has signed for is told from a fork, and the witness signs what is left', async () => {
  await anna.pool?.stop()
  await anna.moveTo('third')
  copyFileSync(copy, path.join(anna.dataDir, 'checkpoint'))
  expect(await anna.lichen('restore', backup)).toMatchObject({
    code: 1,
    err: expect.stringContaining('leaves of the log would be lost'),
  })
  const { file } = await anna.adminKey()
  const accepted = await anna.lichen('restore', backup, '--accept-loss', '--signed-by', file)
  expect(accepted).toMatchObject({ code: 0, out: expect.stringContaining('The log goes on as generation 2') })
  await anna.begin()
  await eventually('bert to sign', async () => (await signed())?.generation === 2)
  expect((await told()).sort()).toEqual(['fork', 'loss', 'rollback'])
  expect(await anna.lichen('audit', '--against', bert.id)).toMatchObject({ code: 0, err: '' })
}, 180_000)

test('a witness goes on under a rotated key, once its human has confirmed it', async () => {
  await anna.pool?.stop()
  const old = anna.id
  const rotated = await anna.lichen('rotate', 'pool', '--signed-by', (await anna.adminKey()).file, '--json')
  expect(rotated).toMatchObject({ code: 0 })
  await anna.begin()
  expect(anna.id).not.toBe(old)
  expect(await anna.lichen('audit', '--against', bert.id)).toMatchObject({ code: 3 })
  await bert.admin('POST', `/federation/peers/${old}/ping`)
  const { data } = await bert.admin<{ data: { id: string; problem: string }[] }>('GET', '/federation/peers')
  expect(data.find(({ id }) => id === old)?.problem).toContain(`lichen fed confirm ${old.slice(0, 12)} ${anna.id}`)
  const { file } = await bert.adminKey()
  expect(await bert.lichen('fed', 'confirm', old, anna.id, '--file', file)).toMatchObject({ code: 0, err: '' })
  const { generation } = await actUntil('bert to sign under the new key', signed)
  expect(generation).toBe(3)
  expect(await told()).toEqual([])
  const audit = await anna.lichen('audit', '--against', bert.id, '--json')
  expect(audit).toMatchObject({ code: 0, err: '' })
  // checkpoints of both keys
  expect(JSON.parse(audit.out)).toMatchObject({ says: 'holds', foreign: 0, unvouched: 0 })
}, 180_000)
