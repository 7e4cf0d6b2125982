import { afterAll, beforeAll, expect, test } from 'vitest'
import { CompactTree, generateIdentity, leafHash } from '#crypto'
import { acceptAgain } from '#federation'
import { copyAfterSuccession, headOf, PoolKeys, readGenerationNotes, readRootAt, signGeneration, succeed } from '#log'
import { openCheckpoint, type PoolId, signCheckpoint, signSuccession } from '#protocol'
import { systemRuntime } from '#runtime'
import { bytes } from '#storage'
import { askSeen } from '../../federation/facts/ask-seen.ts'
import { compareSeen } from '../../federation/facts/compare-seen.ts'
import { judgeCheckpoint } from '../../federation/facts/witness.ts'
import { factLimits } from '../../federation/limits.ts'
import { describeLoss, openGeneration } from '../../log/open-generation.ts'
import { FactPool } from '../../testkit/fact-pool.ts'
import { admin, LoggingProcess, leaf, numbers, pool } from '../../testkit/logging-process.ts'
import { temporaryFolder } from '../../testkit/temporary-folder.ts'

let anna: FactPool
let bert: FactPool
let log: LoggingProcess
/** Whether anna calls anybody, by how far her clock is ahead, and what she has noticed. */
let calls = false
let aheadMs = 0
const silences: object[] = []
const later = { ...systemRuntime, monotonic: () => systemRuntime.monotonic() + aheadMs }
const shownLog = {
  checkpoint: () => log.log.checkpoint(),
  consistency: (from: number, to: number) => log.log.consistency(from, to),
  statements: (max: number) => readGenerationNotes(anna.pool.db.sql, max),
}
beforeAll(async () => {
  const asked = {
    log: shownLog,
    mayCall: () => calls,
    runtime: later,
    onSilence: (event: { silent: boolean }) => silences.push(event),
  }
  ;[anna, bert] = await Promise.all([FactPool.open('anna', asked, { identity: pool }), FactPool.open('bert')])
  log = await LoggingProcess.start(anna.pool.db)
  await anna.bondWith(bert)
})
afterAll(async () => {
  await log[Symbol.asyncDispose]()
  await Promise.all([anna, bert].map((pool) => pool[Symbol.asyncDispose]()))
})

const folder = temporaryFolder()
afterAll(() => folder[Symbol.dispose]())
function openedOf(note: string, { publicKey } = pool) {
  const opened = openCheckpoint(note, publicKey)
  if (!opened.ok) throw new Error(opened.message)
  return opened.checkpoint
}

const show = () => anna.exchange.show(bert.pool.id)
const add = (from: number, count: number) => log.add(...numbers(count, from).map((n) => leaf(n)))
const seen = async () => {
  const memory = await bert.exchange.witness.seen(anna.pool.id)
  const opened = openCheckpoint(memory?.checkpoint ?? '', anna.pool.identity.publicKey)
  return opened.ok ? { generation: opened.checkpoint.generation, size: opened.checkpoint.size } : undefined
}
const kinds = async () => (await bert.exchange.notices.list(false)).map(({ kind }) => kind)

test('a witness signs a log that grows, and remembers it', async () => {
  await add(0, 300)
  expect(await show()).toMatchObject({ says: 'vouched', size: 300 })
  await add(300, 50)
  expect(await show()).toMatchObject({ says: 'vouched', size: 350 })
  expect(await show()).toMatchObject({ says: 'vouched', size: 350 })
  expect(await seen()).toEqual({ generation: 1, size: 350 })
  expect(await kinds()).toEqual([])
})

test('a witness that stays away while there is something to sign is called silent, until it signs again', async () => {
  calls = true
  bert.pool.kill()
  await anna.exchange.round()
  aheadMs += factLimits.witnessSilentMs
  expect(anna.exchange.silentWitnesses()).toEqual([])
  await anna.exchange.round()
  const since = Date.now() - factLimits.witnessSilentMs
  expect(anna.exchange.silentWitnesses()).toEqual([{ witness: bert.pool.id, since: expect.closeTo(since, -5) }])
  await anna.exchange.round()
  bert.pool.kill(false)
  await anna.exchange.round()
  calls = false
  expect(anna.exchange.silentWitnesses()).toEqual([])
  expect(silences).toEqual([true, false].map((silent) => ({ peer: bert.pool.id, silent })))
})

/** `lichen audit --against`: what the witness answers over the network, against the tables as they stand. */
async function against(more: Partial<Parameters<typeof compareSeen>[1]> = {}) {
  const { outbound, peers } = anna.pool.federation
  const peer = peers.get(bert.pool.id)
  if (!peer) throw new Error('no peer')
  const asked = await askSeen(
    peer.id,
    (_, target, body, signal) =>
      outbound.call({ url: peer.url, known: peer }, { method: 'POST', target, body, signal }),
    AbortSignal.timeout(30_000),
  )
  if (!asked.ok) throw new Error(asked.problem)
  const { sql } = anna.pool.db
  const own = {
    keys: new PoolKeys(anna.pool.identity.publicKey),
    generation: 1,
    size: (await headOf(sql))?.size ?? 0,
    rootAt: (size: number) => readRootAt(sql, size),
    statements: [],
    ...more,
  }
  return compareSeen(asked.seen, own, peer.key)
}

test('an audit finds all that a witness has seen in a log that only grew', async () => {
  await add(350, 20)
  expect(await against()).toEqual({ says: 'holds', held: 2, upTo: 350, lost: 0, foreign: 0, unvouched: 0 })
  expect(await against({ keys: new PoolKeys(bert.pool.identity.publicKey) })).toMatchObject({ held: 0, foreign: 2 })
})

test('an audit tells a restore an admin has signed for from a shorter log nobody has', async () => {
  const last = { generation: 1, size: 350, root: Buffer.alloc(32) }
  const statement = { poolId: anna.pool.id, generation: 2, size: 310, last }
  const note = signGeneration(statement, bert.pool.identity)
  const signed = { key: bert.pool.identity.publicKey.toString('hex'), note }
  const restored = { generation: 2, size: 320 }
  expect(await against({ ...restored, statements: [signed] })).toMatchObject({
    says: 'holds',
    held: 1,
    upTo: 300,
    lost: 1,
  })
  expect(await against(restored)).toMatchObject({ says: 'fork', generation: 1, size: 300 })
  // and the key was rotated since: the loss was signed for under the key of its time
  const [{ identity: old }, next] = [anna.pool, generateIdentity(systemRuntime)]
  const handedOn = { generation: 3, last: { generation: 2, size: 320, root: last.root }, at: 1_800_000_000 }
  const earlier = {
    publicKey: old.publicKey,
    lastGeneration: 2,
    note: signSuccession(handedOn, { old, next, admin: undefined }),
  }
  const rotated = { generation: 3, size: 330, keys: new PoolKeys(next.publicKey, [earlier]) }
  const handed = { key: old.publicKey.toString('hex'), note: earlier.note }
  expect(await against({ ...rotated, statements: [handed, signed] })).toMatchObject({ says: 'holds', lost: 1 })
  expect(await against({ ...rotated, statements: [handed] })).toMatchObject({ says: 'fork', generation: 1, size: 300 })
  const foreign = { ...signed, key: anna.pool.identity.publicKey.toString('hex') }
  expect(await against({ ...restored, statements: [foreign] })).toMatchObject({ says: 'fork' })
  expect(await against({ size: 310 })).toMatchObject({ says: 'rollback', size: 350 })
})

/** What only a superuser of the server can do: another history, whole in itself, under the pool's own signature. */
async function rewrite(changed: number, size: number, generation = 1, signer = pool): Promise<void> {
  const rows = await anna.pool.db.sql<
    { hash: Buffer }[]
  >`select hash from log_leaves where index < ${size} order by index`
  const tree = new CompactTree()
  const forged = leafHash(Buffer.from('forged'))
  for (const [n, { hash }] of rows.entries()) tree.append(n === changed ? forged : hash)
  const note = signCheckpoint({ generation, size, root: tree.root() }, signer)
  await anna.pool.db.database.transaction((tx) =>
    tx
      .unsafe(
        `set local session_replication_role = replica; truncate log_tiles; delete from log_checkpoints;
         delete from log_leaves where index >= ${size};
         update log_leaves set hash = '\\x${forged.toString('hex')}' where index = ${changed};
         insert into log_checkpoints values (0, ${generation}, ${size}, '${note}');
         update log_head set size = ${size}, generation = ${generation}, checkpoints = 1, frontier = '${bytes(tree.frontier)}'`,
      )
      .simple(),
  )
}

test('a history that was shortened is told, and the witness does not sign it', async () => {
  await rewrite(-1, 200)
  expect(await show()).toMatchObject({ says: 'accused', problem: expect.stringContaining('150 leaves fewer') })
  expect(await against()).toMatchObject({ says: 'rollback', generation: 1, size: 300, root: null })
  expect(await kinds()).toEqual(['rollback'])
  expect(await seen()).toEqual({ generation: 1, size: 350 })
})

test('a history that was rewritten in the database is caught by the witness, which proves it to everybody', async () => {
  await rewrite(120, 200)
  await log[Symbol.asyncDispose]()
  // its admin has thrown the copy outside the database away, too
  log = await LoggingProcess.start(anna.pool.db, { dataDir: folder.path })
  await add(1_000, 300)
  expect(await show()).toMatchObject({ says: 'accused', problem: expect.stringContaining('two histories') })
  expect(await kinds()).toContain('fork')
  expect(await seen()).toEqual({ generation: 1, size: 350 })
  const found = await against()
  expect(found).toMatchObject({ says: 'fork', generation: 1, size: 300, root: expect.any(String) })
  const proof = openCheckpoint('checkpoint' in found ? found.checkpoint : '', anna.pool.identity.publicKey)
  expect(proof.ok && proof.checkpoint.root.toString('base64')).not.toBe('root' in found && found.root)
  const [fork] = await bert.exchange.facts.view('fork')
  const { first, second } = JSON.parse(String(fork?.value)) as { first: string; second: string }
  for (const note of [first, second])
    expect(openCheckpoint(note, anna.pool.identity.publicKey)).toMatchObject({ ok: true })
  expect(first).not.toBe(second)
})

test('a log whose admin has signed for a loss is told from a fork by a real witness, which signs what is left', async () => {
  await using carl = await FactPool.open('carl')
  await anna.bondWith(carl)
  await carl.pool.knowsAdmin(pool.id, admin.publicKey)
  const { size } = openedOf(await log.log.checkpoint())
  expect(await anna.exchange.show(carl.pool.id)).toMatchObject({ says: 'vouched', size })
  // an older backup: without its last 50 leaves, and beside it the copy that knows of them
  await lose(50)
  expect(await anna.exchange.show(carl.pool.id)).toMatchObject({ says: 'vouched', size: size - 49 })
  expect(await carl.exchange.notices.list(false)).toMatchObject([
    { kind: 'loss', peer: pool.id, details: { lost: 50 }, text: expect.stringContaining('a restore, not a fork') },
  ])
  expect(await carl.sees()).toEqual([])
})

/** Anna's log without its last `lost` leaves, as an admin has signed; and what the copy outside knows of them stays beside it. */
async function lose(lost: number): Promise<void> {
  const { size } = openedOf(await log.log.checkpoint())
  await log[Symbol.asyncDispose]()
  await rewrite(-1, size - lost)
  const closed = { database: anna.pool.db.database, signer: pool, dataDir: folder.path }
  const loss = await describeLoss(closed)
  if (!loss) throw new Error('nothing is lost')
  await openGeneration(closed, signGeneration(loss, admin), admin.publicKey)
  log = await LoggingProcess.start(anna.pool.db, { dataDir: folder.path })
}

/** Anna's key after its rotation, who she is since, and two witnesses who saw her log before. */
const next = generateIdentity(systemRuntime)
let annaNow: FactPool
let dora: FactPool
let emil: FactPool
afterAll(() => Promise.all([annaNow, dora, emil].map((pool) => pool?.[Symbol.asyncDispose]())))

/** Anna's key is rotated, and she runs under the new one. */
async function rotate(): Promise<FactPool> {
  await log[Symbol.asyncDispose]()
  const { database } = anna.pool.db
  const note = await database.transaction(async (tx) => {
    const note = await succeed(tx, { old: pool, next, admin: anna.pool.admin, now: Date.now(), actor: 'owner.key' })
    await acceptAgain(tx, { giver: next.id as PoolId, admin: anna.pool.admin, now: Date.now() })
    return note
  })
  await copyAfterSuccession(database.sql, folder.path, { old: pool.publicKey, next: next.publicKey })
  log = await LoggingProcess.start(anna.pool.db, { dataDir: folder.path, signer: next })
  return FactPool.of(await anna.pool.another({ identity: next }, [note]), { log: shownLog })
}

/** A witness's human confirms who Anna is now, at her new address. */
async function follows({ pool: witness }: FactPool): Promise<void> {
  await witness.db.sql`update peers set url = ${annaNow.pool.url} where id = ${pool.id}`
  await witness.federation.peers.refresh()
  await witness.federation.office.confirm(pool.id, next.id, 'owner.key', witness.accepts(next.id))
  await annaNow.pool.federation.peers.refresh()
}

test('a loss that an admin has signed for is no fork although the key was rotated before the witness saw it', async () => {
  ;[dora, emil] = await Promise.all([FactPool.open('dora'), FactPool.open('emil')])
  await anna.bondWith(dora)
  await anna.bondWith(emil)
  await add(2_000, 40)
  const { size } = openedOf(await log.log.checkpoint())
  expect(await anna.exchange.show(dora.pool.id)).toMatchObject({ says: 'vouched', size })
  await add(2_100, 15)
  expect(await anna.exchange.show(dora.pool.id)).toMatchObject({ says: 'vouched', size: size + 15 })
  await lose(30)
  expect(await anna.exchange.show(emil.pool.id)).toMatchObject({ says: 'vouched', size: size - 14 })
  // what was lost has been written anew, and differently, before the key went on
  await add(3_000, 20)
  annaNow = await rotate()
  await follows(dora)
  expect(await annaNow.exchange.show(dora.pool.id)).toMatchObject({ says: 'vouched', size: size + 7 })
  // no human of hers has registered that admin
  const whoSigned = `as ${admin.id.slice(0, 12)} has signed, whom nobody here has registered`
  expect(await dora.exchange.notices.list(false)).toMatchObject([
    { kind: 'loss', peer: next.id, details: { lost: 30 }, text: expect.stringContaining(whoSigned) },
  ])
  expect(await dora.sees()).toEqual([])
})

/** The two histories that a witness holds against the pool under its new key, and whose signature each has. */
async function proofOf({ exchange }: FactPool) {
  const [fork] = await exchange.facts.view('fork')
  const { first, second } = JSON.parse(String(fork?.value)) as { first: string; second: string }
  const by = (note: string) =>
    [pool, next].find(({ publicKey }) => openCheckpoint(note, publicKey).ok) === next ? 'new key' : 'old key'
  return { about: fork?.name, first: by(first), second: by(second) }
}

test('a history that is rewritten after a rotation is proven by what the new key has signed, or the old one before', async () => {
  const { generation, size } = openedOf(await log.log.checkpoint(), next)
  await log[Symbol.asyncDispose]()
  await rewrite(40, size - 5, generation, next)
  using elsewhere = temporaryFolder()
  log = await LoggingProcess.start(anna.pool.db, { dataDir: elsewhere.path, signer: next })
  await add(4_000, 20)
  const accused = { says: 'accused', problem: expect.stringContaining('two histories') }
  expect(await annaNow.exchange.show(dora.pool.id)).toMatchObject(accused)
  expect(await proofOf(dora)).toEqual({ about: next.id, first: 'new key', second: 'new key' })
  // he has seen nothing yet that the new key has signed
  await follows(emil)
  expect(await annaNow.exchange.show(emil.pool.id)).toMatchObject(accused)
  expect(await proofOf(emil)).toEqual({ about: next.id, first: 'old key', second: 'new key' })
  for (const { exchange } of [dora, emil])
    expect(await exchange.notices.list(false)).toContainEqual(expect.objectContaining({ kind: 'fork', peer: next.id }))
  await log[Symbol.asyncDispose]()
  log = await LoggingProcess.start(anna.pool.db, { signer: next })
})

const hashes = numbers(12).map((n) => leafHash(Buffer.from(String(n))))
const rootOf = (list: Buffer[]) => {
  const tree = new CompactTree()
  for (const hash of list) tree.append(hash)
  return tree.root()
}
const treeOf = (generation: number, size: number, list = hashes) => {
  return { generation, size, root: rootOf(list.slice(0, size)) }
}
const lossAt = (generation: number, size: number) =>
  ({ how: 'loss', generation, size, signer: admin.publicKey }) as const
const handedOnAt = (generation: number) => ({ how: 'succession', generation }) as const

test('a log that was restored with losses goes on in its next generation, and is no fork', () => {
  const old = treeOf(1, 10)
  const restored = [...hashes.slice(0, 6), leafHash(Buffer.from('statement'))]
  const shown = { ...treeOf(2, 7, restored), from: 0, path: [], newest: false, beginnings: [lossAt(2, 6)] }
  expect(judgeCheckpoint([old], shown)).toEqual({ says: 'loss', lost: 4, signers: [admin.publicKey] })
  expect(judgeCheckpoint([old], { ...shown, beginnings: [] })).toEqual({ says: 'fork' })
  expect(judgeCheckpoint([{ ...old, generation: 3 }], shown)).toMatchObject({ says: 'rollback' })
  const half = treeOf(1, 4)
  expect(judgeCheckpoint([old, half], shown)).toEqual({ says: 'show', from: 4 })
  expect(judgeCheckpoint([old, half], { ...shown, from: 4, path: [leafHash(Buffer.alloc(1))] })).toEqual({
    says: 'fork',
  })
})

test('a key that goes on loses nothing: leaves that are gone with it nobody has signed for', () => {
  const known = [treeOf(1, 10), treeOf(1, 4)]
  const shorter = { ...treeOf(2, 7), from: 4, path: [], newest: false, beginnings: [handedOnAt(2)] }
  expect(judgeCheckpoint(known, shorter)).toEqual({ says: 'show', from: 10 })
  expect(judgeCheckpoint(known, { ...shorter, newest: true })).toEqual({ says: 'rollback', lost: 3 })
  const path = [leafHash(Buffer.alloc(1))]
  expect(judgeCheckpoint(known, { ...shorter, ...treeOf(2, 12), from: 10, path })).toEqual({ says: 'fork' })
})

test('what was lost in one restore is looked for in none that follows', () => {
  const known = [treeOf(1, 10), treeOf(1, 8), treeOf(1, 5)]
  // six were left, the key went on after the ninth, and of those eight were left
  const now = {
    ...treeOf(4, 9),
    from: 5,
    path: [],
    newest: false,
    beginnings: [lossAt(4, 8), handedOnAt(3), lossAt(2, 6)],
  }
  expect(judgeCheckpoint(known, now)).not.toEqual({ says: 'show', from: 8 })
  expect(judgeCheckpoint(known, { ...now, from: 8 })).toEqual({ says: 'show', from: 5 })
  // the backup was from before the second generation: all of that is gone, and the first was whole up to the eighth
  const older = { ...now, beginnings: [lossAt(3, 8)], generation: 3 }
  expect(judgeCheckpoint([...known, treeOf(2, 7)], older)).toEqual({ says: 'show', from: 8 })
})
