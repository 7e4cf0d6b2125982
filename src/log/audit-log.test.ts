import { readFile } from 'node:fs/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { CompactTree, identityFromSeed, leafHash } from '#crypto'
import { signCheckpoint } from '#protocol'
import { bytes } from '#storage'
import { type TestDatabase, testDatabase } from '#testkit'
import { findings, LoggingProcess, leaf, numbers } from '../testkit/logging-process.ts'
import { insertAct } from './acts.ts'

let db: TestDatabase
let process: LoggingProcess
beforeEach(async () => {
  db = await testDatabase()
  process = await LoggingProcess.start(db)
  for (const act of ['user.create', 'user.disable']) {
    await db.sql`${insertAct(db.sql, { actor: 'owner.key', action: act, subject: 'u1', details: { n: 1 } })}`
  }
  await process.log.keep(process.commit)
  for (const burst of numbers(3)) await process.add(...numbers(200, burst * 200).map((n) => leaf(n)))
  await process.log.keep()
})
afterEach(async () => {
  await process[Symbol.asyncDispose]()
  await db.drop()
})

/** What nobody but a superuser of the server can do. */
const tamper = (...statements: string[]) =>
  db.database.transaction((tx) =>
    tx.unsafe(`set local session_replication_role = replica; ${statements.join('; ')}`).simple(),
  )

/** A tree over other leaves, with its head, as somebody who owns the database would write it. */
async function rewriteFrom(index: number): Promise<void> {
  const rows = await db.sql<{ hash: Buffer }[]>`select hash from log_leaves order by index`
  const tree = new CompactTree()
  for (const [n, { hash }] of rows.entries()) tree.append(n === index ? leafHash(Buffer.from('forged')) : hash)
  const hash = leafHash(Buffer.from('forged')).toString('hex')
  await tamper(
    `update log_leaves set hash = '\\x${hash}' where index = ${index}`,
    `update log_head set frontier = '${bytes(tree.frontier)}'`,
  )
}

test('an untouched log of acts and leaves in several flushes is found right, from any leaf on', async () => {
  expect(await findings(process)).toEqual([])
  for (const from of [1, 2, 255, 256, 257, 512, 602]) expect(await findings(process, from)).toEqual([])
})

const forged = `'\\x${'ab'.repeat(32)}'`
const swap = (table: string, key: string, column: string, a: string, b: string) =>
  `update ${table} t set ${column} = o.${column} from ${table} o
    where (t.${key}, o.${key}) in ((${a}, ${b}), (${b}, ${a}))`

describe('edited by the superuser of the database', () => {
  const edits: [string, string, string][] = [
    ['the hash of a leaf', 'log_checkpoints', `update log_leaves set hash = ${forged} where index = 300`],
    ['the hashes of two leaves, exchanged', 'log_checkpoints', swap('log_leaves', 'index', 'hash', '10', '11')],
    ['a deleted leaf', 'log_leaves', 'delete from log_leaves where index = 300'],
    ['a deleted last leaf', 'log_leaves', 'delete from log_leaves where index = 601'],
    ['a leaf put in', 'log_leaves', `insert into log_leaves values (602, 'transfer', 'extra', ${forged})`],
    ['the text of an act', 'acts', `update acts set actor = 'nobody' where seq = 1`],
    ['the details of an act', 'acts', `update acts set details = '{"n":2}' where seq = 2`],
    ['the time of an act', 'acts', `update acts set at = at - interval '1 second' where seq = 1`],
    ['the salt of an act', 'acts', `update acts set salt = ${forged} where seq = 1`],
    ['two acts, exchanged', 'acts', swap('acts', 'seq', 'action', '1', '2')],
    ['a deleted act', 'acts', 'delete from acts where seq = 2'],
    [
      'an act put in before the last minute',
      'acts',
      `insert into acts (actor, action, subject, at) values ('a', 'b', 'c', date_trunc('seconds', now()) - interval '2 minutes')`,
    ],
    [
      'the text of a checkpoint',
      'log_checkpoints',
      `update log_checkpoints set note = replace(note, E'\\n2\\n', E'\\n3\\n')`,
    ],
    ['two checkpoints, exchanged', 'log_checkpoints', swap('log_checkpoints', 'number', 'note', '2', '3')],
    ['a deleted checkpoint', 'log_checkpoints', 'delete from log_checkpoints where number = 2'],
    ['a deleted last checkpoint', 'log_checkpoints', 'delete from log_checkpoints where number = 4'],
    [
      'a checkpoint put in',
      'log_checkpoints',
      `insert into log_checkpoints select 5, generation, size, note from log_checkpoints where number = 4`,
    ],
    ['the right edge', 'log_head', `update log_head set frontier[1] = ${forged}`],
    ['a shortened head', 'log_leaves', `update log_head set size = 512, frontier = frontier[1:1]`],
    ['a missing head', 'log_head', 'delete from log_head'],
    ['a generation nobody opened', 'log_checkpoints', `update log_checkpoints set generation = 2 where number = 4`],
    [
      'a stored tile',
      'log_tiles',
      `update log_tiles set nodes = overlay(nodes placing ${forged} from 33) where index = 1`,
    ],
    ['the root of a stored tile', 'log_tiles', `update log_tiles set root = ${forged} where index = 0`],
  ]
  test.each(edits)('%s is found in %s', async (_, table, statement) => {
    expect(await db.sql`select 1 from log_tiles`).toHaveLength(2)
    await tamper(statement)
    const found = await findings(process)
    expect(found.map((problem) => problem.table)).toContain(table)
    expect(found[0]?.sentence).toMatch(/^[A-Z].*\.$/)
  })

  test('a leaf and everything made from it, but for the signatures, is found', async () => {
    await rewriteFrom(300)
    const found = await findings(process)
    expect(found).toContainEqual({
      table: 'log_leaves',
      row: '',
      sentence: 'The first 602 leaves are not those of the checkpoint outside the database.',
    })
    expect(found).toContainEqual(expect.objectContaining({ table: 'log_checkpoints', row: '3' }))
  })

  test('with checkpoints of another key instead is found', async () => {
    const stranger = identityFromSeed(Buffer.alloc(32, 9))
    const tree = new CompactTree()
    const note = signCheckpoint({ generation: 1, size: 0, root: tree.root() }, stranger)
    await tamper(`update log_checkpoints set note = '${note}' where number = 0`)
    expect(await findings(process)).toContainEqual({
      table: 'log_checkpoints',
      row: '0',
      sentence: "Checkpoint 0 does not carry the pool's signature.",
    })
  })

  test('leaves that were dropped together with their checkpoints are missed by the copy outside', async () => {
    await goBack()
    expect(await findings(process)).toEqual([
      {
        table: 'log_head',
        row: '',
        sentence: 'The log has 402 leaves; the checkpoint outside the database has 602.',
      },
    ])
  })
})

/** The log as it was two flushes ago, in itself flawless. */
async function goBack(): Promise<void> {
  const rows = await db.sql<{ hash: Buffer }[]>`select hash from log_leaves where index < 402 order by index`
  const tree = new CompactTree()
  for (const { hash } of rows) tree.append(hash)
  await tamper(
    'delete from log_leaves where index >= 402',
    'delete from log_checkpoints where size > 402',
    'delete from log_tiles where index = 1',
    `update log_head set size = 402, checkpoints = 4, frontier = '${bytes(tree.frontier)}'`,
  )
}

describe('a running pool', () => {
  const refused = expect.objectContaining({ refusal: expect.objectContaining({ code: 'log_mismatch' }) })

  test('signs nothing that goes on from a tree it did not sign', async () => {
    await rewriteFrom(300)
    await expect(process.add(leaf('next'))).rejects.toEqual(refused)
    await using newcomer = await LoggingProcess.start(db)
    await expect(newcomer.add(leaf('next'))).rejects.toEqual(refused)
  })

  test('signs nothing when somebody moved its head since its last flush', async () => {
    await process.add(leaf('last'))
    await tamper(`update log_head set frontier[1] = ${forged}`)
    await expect(process.add(leaf('next'))).rejects.toEqual(refused)
  })

  test('signs nothing more once the history it knows has become shorter', async () => {
    await goBack()
    await expect(process.add(leaf('next'))).rejects.toEqual(refused)
  })

  test('keeps its copy and says so when another process went on from an older state', async () => {
    const known = await process.log.checkpoint()
    await goBack()
    await using newcomer = await LoggingProcess.start(db)
    await newcomer.add(...numbers(300).map((n) => leaf(`other ${n}`)))
    await process.log.keep()
    expect(process.problems).toEqual([refused])
    expect(await readFile(`${process.dataDir}/checkpoint`, 'utf8')).toBe(known)
  })
})

test('an audit of what came since a leaf finds what was changed behind it', async () => {
  const since = async (from: number) => (await process.log.audit(from).next()).value
  expect(await since(0)).toBeUndefined()
  await process.add(leaf('next'))
  await tamper(`update log_leaves set hash = ${forged} where index = 602`)
  expect(await since(602)).toMatchObject({ table: 'log_checkpoints' })
})
