import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { artifactsLimits, fetchModel, type LibraryModel, ModelLibrary } from '#artifacts'
import { sha256 } from '#crypto'
import { systemRuntime } from '#runtime'
import { temporaryFolder } from '#testkit'
import { ApiDouble } from '../../testkit/api-double.ts'
import { Road } from '../../testkit/road.ts'

/** A pool that hands out one file of 3 MB, and a worker's empty folder. */
const runtime = systemRuntime
const content = randomBytes(3_000_000)
const digest = sha256(content).toString('hex')
const folder = temporaryFolder()
const file = path.join(folder.path, 'moss.gguf')
let model: LibraryModel
let library: ModelLibrary
let api: ApiDouble
let asked: string[]

beforeAll(async () => {
  writeFileSync(file, content)
  model = { name: 'moss', path: file, digest, bytes: content.length }
  library = new ModelLibrary([model], { runtime, bytesPerSecond: 2 ** 40 })
  api = await ApiDouble.open({
    modelFiles: {
      open: (...args) => {
        asked.push(args[2] ?? '')
        return library.open(...args)
      },
    },
  })
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  folder[Symbol.dispose]()
})

const ticketFor = (who: string) => library.tickets.issue(who, digest, content.length) ?? ''
let count = 0
const emptyFolder = () => {
  asked = []
  const fresh = path.join(folder.path, `worker-${++count}`)
  mkdirSync(fresh)
  return fresh
}

function order(into: string, more: Partial<Parameters<typeof fetchModel>[0]> = {}): Parameters<typeof fetchModel>[0] {
  const url = `${api.url}/v1/workers/models/${digest}`
  const rest = { msMax: 60_000, runtime, signal: new AbortController().signal, onProgress: () => {} }
  return { url, ticket: ticketFor(into), digest, bytes: content.length, folder: into, ...rest, ...more }
}

const ask = (headers: Record<string, string>, name = digest) =>
  fetch(`${api.url}/v1/workers/models/${name}`, { headers })

test('a worker fetches what it was offered, and holds the very bytes', async () => {
  const into = emptyFolder()
  const told: number[] = []
  const at = await fetchModel(order(into, { onProgress: (bytes) => told.push(bytes) }))
  expect(readFileSync(at).equals(content)).toBe(true)
  expect(path.basename(at)).toBe(`${digest}.gguf`)
  expect(existsSync(path.join(into, `${digest}.part`))).toBe(false)
  expect(told.at(-1)).toBe(content.length)
  expect(library.transfers).toBe(0)
})

test('cut in the middle, the fetch goes on where it was', async () => {
  const into = emptyFolder()
  await using road = await Road.open(() => api.port)
  const slow = new ModelLibrary([model], { runtime, bytesPerSecond: 2_000_000 })
  const before = library
  library = slow
  try {
    const url = `${road.url}/v1/workers/models/${digest}`
    let cuts = 0
    const onProgress = () => {
      if (cuts++ > 0) return
      road.cut()
      road.mend()
    }
    const at = await fetchModel(order(into, { url, onProgress }))
    expect(readFileSync(at).equals(content)).toBe(true)
  } finally {
    library = before
  }
  expect(asked[0]).toBe('bytes=0-')
  const [, from] = /^bytes=(\d+)-$/.exec(asked[1] ?? '') ?? []
  expect(Number(from)).toBeGreaterThan(0)
  expect(Number(from)).toBeLessThan(content.length)
})

test('stopped and started again, it asks for the rest only', async () => {
  const into = emptyFolder()
  writeFileSync(path.join(into, `${digest}.part`), content.subarray(0, 1_234_567))
  await fetchModel(order(into))
  expect(asked).toEqual(['bytes=1234567-'])
})

test.each<[string, (into: string) => void]>([
  ['what lay on the disk was changed', (into) => writeFileSync(path.join(into, `${digest}.part`), Buffer.alloc(10))],
  ['the pool’s file was changed under it', () => writeFileSync(file, Buffer.from(content).fill(0, 5, 6))],
])('bytes with another digest are deleted and refused: %s', async (_, spoil) => {
  const into = emptyFolder()
  spoil(into)
  await expect(fetchModel(order(into))).rejects.toMatchObject({ refusal: { code: 'digest_mismatch' } })
  expect([existsSync(path.join(into, `${digest}.part`)), existsSync(path.join(into, `${digest}.gguf`))]).toEqual([
    false,
    false,
  ])
  writeFileSync(file, content)
})

test('a pool whose file has another size than it offered is refused', async () => {
  const into = emptyFolder()
  await expect(fetchModel(order(into, { bytes: content.length - 1 }))).rejects.toMatchObject({
    refusal: { code: 'digest_mismatch' },
  })
})

test('a disk without room is found before anything is fetched', async () => {
  const into = emptyFolder()
  await expect(fetchModel(order(into, { bytes: 2 ** 53 - 1 }))).rejects.toMatchObject({
    refusal: { code: 'disk_full' },
  })
  expect(asked).toEqual([])
})

test('told to stop, it stops, keeps what it has and gives its place back', async () => {
  const into = emptyFolder()
  const before = library
  library = new ModelLibrary([model], { runtime, bytesPerSecond: 1_000_000 })
  const stop = new AbortController()
  const fetching = fetchModel(order(into, { signal: stop.signal, onProgress: () => stop.abort() }))
  await expect(fetching).rejects.toThrow(/abort/i)
  expect(existsSync(path.join(into, `${digest}.part`))).toBe(true)
  await expect.poll(() => library.transfers).toBe(0)
  library = before
})

test('nobody gets a byte without the ticket of this very file', async () => {
  emptyFolder()
  const ticket = ticketFor('bob')
  expect((await ask({})).status).toBe(401)
  expect((await ask({ authorization: `Bearer ${'A'.repeat(43)}` })).status).toBe(403)
  expect((await ask({ authorization: `Bearer ${ticket}` }, 'ab'.repeat(32))).status).toBe(403)
  expect((await ask({ authorization: `Bearer ${ticket}` }, '..%2f..%2fetc%2fpasswd')).status).toBe(403)
  library.tickets.revoke('bob')
  const late = await ask({ authorization: `Bearer ${ticket}` })
  expect([late.status, ((await late.json()) as { error: { code: string } }).error.code]).toEqual([
    403,
    'ticket_refused',
  ])
})

test('a ticket serves one connection at a time, and so many bytes', async () => {
  emptyFolder()
  const authorization = `Bearer ${ticketFor('carla')}`
  const first = await ask({ authorization })
  expect((await ask({ authorization })).status).toBe(409)
  await first.arrayBuffer()
  await (await ask({ authorization })).arrayBuffer()
  expect(artifactsLimits.ticketTimesMax).toBe(2)
  const third = await ask({ authorization })
  expect(third.ok ? await third.arrayBuffer().catch(() => 'cut') : third.status).toSatisfy(
    (end: unknown) => end === 'cut' || end === 403,
  )
})

test.each<[string, number, string | null, number]>([
  ['bytes=10-19', 206, `bytes 10-19/${content.length}`, 10],
  ['bytes=-5', 206, `bytes ${content.length - 5}-${content.length - 1}/${content.length}`, 5],
  [`bytes=${content.length - 1}-`, 206, `bytes ${content.length - 1}-${content.length - 1}/${content.length}`, 1],
  ['bytes=0-1,5-6', 200, null, content.length],
  ['lines=1-2', 200, null, content.length],
])('the range %s is answered with %i', async (range, status, contentRange, length) => {
  emptyFolder()
  const answer = await ask({ authorization: `Bearer ${ticketFor(range)}`, range })
  const bytes = Buffer.from(await answer.arrayBuffer())
  expect([answer.status, answer.headers.get('content-range'), bytes.length]).toEqual([status, contentRange, length])
  const start = Number(/\d+/.exec(contentRange ?? '0')?.[0])
  expect(bytes.equals(content.subarray(start, start + length))).toBe(true)
})

test('a range behind the end is refused, and more fetches than the pool makes at once are told to come back', async () => {
  emptyFolder()
  const behind = await ask({ authorization: `Bearer ${ticketFor('dora')}`, range: `bytes=${content.length}-` })
  expect(behind.status).toBe(416)
  const slow = new ModelLibrary([model], { runtime, bytesPerSecond: 2 ** 20 })
  const parts = Array.from({ length: artifactsLimits.transfersAtOnce + 1 }, (_, n) =>
    slow.open(digest, slow.tickets.issue(`w${n}`, digest, content.length) ?? '', undefined),
  )
  const last = parts.pop()
  for (const part of parts) await part.pieces.next()
  await expect(last?.pieces.next()).rejects.toMatchObject({ refusal: { code: 'overloaded' } })
  for (const part of parts) await part.pieces.return(undefined)
  expect(slow.transfers).toBe(0)
})
