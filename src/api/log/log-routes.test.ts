import { afterAll, beforeAll, expect, test } from 'vitest'
import { leafHash, merkleRoot, verifyConsistency, verifyInclusion } from '#crypto'
import { openCheckpoint } from '#protocol'
import { type TestDatabase, testDatabase } from '#testkit'
import { ToldEpochs } from '#verification'
import { LoggingProcess, leaf, numbers, pool } from '../../testkit/logging-process.ts'
import { type Route, TextReply } from '../route.ts'
import { logRoutes } from './log-routes.ts'

let db: TestDatabase
let process: LoggingProcess
let routes: readonly Route[]
beforeAll(async () => {
  db = await testDatabase()
  process = await LoggingProcess.start(db)
  await process.add(...numbers(300).map((n) => leaf(n)))
  await process.log.keep()
  routes = logRoutes(process.log.reader, new ToldEpochs(db.sql))
})
afterAll(async () => {
  await process[Symbol.asyncDispose]()
  await db.drop()
})

/** What a stranger gets, or the refusal's code; the query is parsed as the server does. */
async function get(path: string, query: Record<string, string> = {}, params: Record<string, string> = {}) {
  const route = routes.find((one) => one.path === path)
  const parsed = route?.query?.safeParse(query)
  if (parsed && !parsed.success) return 'invalid_request'
  const visit = { params, query: parsed?.data, body: undefined, headers: {} }
  try {
    // a log route reads no more of a visit than this
    return await route?.handle(visit as unknown as Parameters<Route['handle']>[0])
  } catch (error) {
    return (error as { code: string }).code
  }
}
const textOf = (reply: unknown) => {
  if (!(reply instanceof TextReply)) throw new Error(`no text: ${JSON.stringify(reply)}`)
  return reply.text
}
const buffers = (path: unknown) => (path as string[]).map((hash) => Buffer.from(hash, 'hex'))
const tree = async () => {
  const opened = openCheckpoint(String(textOf(await get('/v1/log/checkpoint'))), pool.publicKey)
  if (!opened.ok) throw new Error(opened.message)
  return opened.checkpoint
}

test('everybody may come', () => {
  expect(routes.map((one) => `${one.method} ${one.caller}`)).toEqual(Array(6).fill('GET anyone'))
})

test('a leaf is proven to a stranger, by its index or its hash', async () => {
  const { size, root } = await tree()
  const hash = leafHash(leaf(7).data)
  const byHash = await get('/v1/log/proof/inclusion', { leaf_hash: hash.toString('hex') })
  expect(byHash).toEqual(await get('/v1/log/proof/inclusion', { index: '7', size: String(size) }))
  const { index, path } = byHash as { index: number; path: string[] }
  expect(verifyInclusion({ leaf: hash, index, size, path: buffers(path), root })).toBe(true)
})

test('growth is proven to a stranger', async () => {
  const { size, root } = await tree()
  const leaves = numbers(100).map((n) => leafHash(leaf(n).data))
  const reply = await get('/v1/log/proof/consistency', { from: '100', to: String(size) })
  const path = buffers((reply as { path: string[] }).path)
  const proof = { oldSize: 100, oldRoot: merkleRoot(leaves), newSize: size, newRoot: root, path }
  expect(verifyConsistency(proof)).toBe(true)
})

test('tiles hold the nodes, whole or their beginning', async () => {
  const whole = textOf(await get('/v1/log/tile/:level/:index', {}, { level: '0', index: '0' }))
  expect(whole).toHaveLength(8_192)
  const part = textOf(await get('/v1/log/tile/:level/:index', { width: '44' }, { level: '0', index: '1' })) as Buffer
  expect(part.subarray(0, 32)).toEqual(leafHash(leaf(256).data))
  const above = textOf(await get('/v1/log/tile/:level/:index', { width: '1' }, { level: '1', index: '0' })) as Buffer
  expect(above).toEqual(merkleRoot(numbers(256).map((n) => leafHash(leaf(n).data))))
})

const wrong: [string, Record<string, string>, string][] = [
  ['/v1/log/proof/inclusion', {}, 'invalid_request'],
  ['/v1/log/proof/inclusion', { index: '1', leaf_hash: 'ab'.repeat(32) }, 'invalid_request'],
  ['/v1/log/proof/inclusion', { index: '-1' }, 'invalid_request'],
  ['/v1/log/proof/inclusion', { index: '' }, 'invalid_request'],
  ['/v1/log/proof/inclusion', { index: '1e2' }, 'invalid_request'],
  ['/v1/log/proof/inclusion', { index: '01' }, 'invalid_request'],
  ['/v1/log/proof/inclusion', { index: '9007199254740992' }, 'invalid_request'],
  ['/v1/log/proof/inclusion', { index: '1', size: '301' }, 'invalid_request'],
  ['/v1/log/proof/inclusion', { index: '1', size: '1' }, 'invalid_request'],
  ['/v1/log/proof/inclusion', { index: '300' }, 'not_found'],
  ['/v1/log/proof/inclusion', { leaf_hash: 'AB'.repeat(32) }, 'invalid_request'],
  ['/v1/log/proof/inclusion', { leaf_hash: 'ab'.repeat(32) }, 'not_found'],
  ['/v1/log/proof/consistency', { from: '1' }, 'invalid_request'],
  ['/v1/log/proof/consistency', { from: '2', to: '1' }, 'invalid_request'],
  ['/v1/log/proof/consistency', { from: '2', to: '301' }, 'invalid_request'],
  ['/v1/log/tile/:level/:index', { width: '0' }, 'invalid_request'],
  ['/v1/log/tile/:level/:index', { width: '257' }, 'invalid_request'],
]
test.each(wrong)('%s with %j is refused: %s', async (path, query, code) => {
  expect(await get(path, query, { level: '0', index: '0' })).toBe(code)
})

test.each([
  ['0', '1', 'not_found'],
  ['0', '2', 'not_found'],
  ['1', '0', 'not_found'],
  ['7', '0', 'invalid_request'],
  ['x', '0', 'invalid_request'],
  ['0', '9007199254740991', 'invalid_request'],
  ['6', '35184372088831', 'not_found'],
])('tile %s/%s is refused: %s', async (level, index, code) => {
  expect(await get('/v1/log/tile/:level/:index', {}, { level, index })).toBe(code)
})

test('more strangers at once than the log has time for are told to come back', async () => {
  const answers = await Promise.all(numbers(20).map(() => get('/v1/log/checkpoint')))
  expect(answers.filter((one) => one === 'overloaded')).toHaveLength(16)
})
