import http from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { demoModelPath, eventually, Neighbourhood } from '#testkit'

const town = new Neighbourhood()
beforeAll(async () => {
  await town.start('up')
})
afterAll(() => town[Symbol.asyncDispose]())

const occurrences = (text: string, part: string) => text.split(part).length - 1

/** The status of one request that calls the pool by another name. */
function calledAs(host: string, route: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    http
      .get(`${town.url}${route}`, { headers: { host } }, (response) => {
        response.resume()
        resolve(response.statusCode)
      })
      .on('error', reject)
  })
}

test('the log of `up` says that its worker was approved, not only that it waited', () => {
  const lines = (town.pool?.stderr ?? '')
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line))
  const told = lines.filter((line) => /^worker /.test(line.msg)).map((line) => [line.msg, line.standing])
  expect(told).toEqual([
    ['worker connected', 'pending'],
    ['worker approved', 'approved'],
  ])
})

test('one worker is shown as a page for people, with every act on its key', async () => {
  const [worker] = await town.workers()
  const { out } = await town.cli('workers', 'show', worker?.id.slice(0, 8) ?? '')
  expect(out).not.toMatch(/\[object|undefined|null/)
  expect(out).toMatch(new RegExp(`^WORKER +${worker?.id}\noperator +self\nstanding +approved, until 20`))
  expect(out).toMatch(/\nsession +since 20\S+, 0 of \d+ slots busy/)
  expect(out).toMatch(/\nmodels +lichen-demo {2}\(sha256:[0-9a-f]{12}, \d+ tokens of context; chat, /)
  expect(out).toMatch(/\nWHEN +WHAT +BY +GOOD UNTIL\n\S+Z +invited +self\n\S+Z +joined .*\n\S+Z +approved +self +20/)
})

test('the status counts what clients asked, not the owner’s own looking', async () => {
  const requests = async () => {
    const { json } = await town.cli('status', '--json')
    return (json as { requests: { answered: number; refused: number; left: number } }).requests
  }
  const before = await requests()
  await town.cli('workers', 'ls')
  await fetch(`${town.url}/metrics`)
  await fetch(`${town.url}/v1/admin/status`)
  expect(await requests()).toEqual(before)
  await town.client().models.list()
  await fetch(`${town.url}/v1/models`)
  expect(await requests()).toEqual({ ...before, answered: before.answered + 1, refused: before.refused + 1 })
})

test('a chat whose standard input ends at once says that nothing was asked, exit 2', async () => {
  const program = town.run(['chat', '--data', town.dataDir])
  expect(await program.ended).toBe(2)
  expect(program.stdout).toEqual([])
  expect(program.stderr).toContain('Nothing was asked')
})

test('a worker that joins tells a person each fact once', async () => {
  const { invite } = (await town.cli('invite', '--operator', 'alice', '--json')).json as { invite: string }
  const dataDir = path.join(town.folder, 'alice')
  const program = town.run(
    ['worker', 'join', invite, '--model', demoModelPath, '--log-format', 'pretty'].concat('--data', dataDir),
  )
  const asked = await eventually('the worker to ask', () => /workers approve ([0-9a-f]{64})/.exec(program.stderr)?.[1])
  await town.admin('POST', `/workers/${asked}/approve`)
  await eventually('the worker to serve', () => program.stderr.includes('Serving lichen-demo'))
  await program.stop()
  for (const fact of ['Connecting to', 'Joined.', 'Serving', asked]) {
    expect([fact, occurrences(program.stderr, fact)]).toEqual([fact, 1])
  }
})

test('a pool on loopback does not answer to a name that a web page made up', async () => {
  expect(await calledAs('rebound.example', '/metrics')).toBe(403)
  expect(await calledAs('rebound.example', '/')).toBe(403)
  expect(await calledAs('localhost', '/metrics')).toBe(200)
})

test('a blocked worker leaves and is told so at the door; after a rotation it comes back with a new key', async () => {
  const { invite } = (await town.cli('invite', '--operator', 'bob', '--json')).json as { invite: string }
  const dataDir = path.join(town.folder, 'bob')
  const join = (...args: string[]) => town.run(['worker', 'join', ...args, '--model', demoModelPath, '--data', dataDir])
  const first = join(invite)
  const id = await eventually('the worker to ask', () => /workers approve ([0-9a-f]{64})/.exec(first.stderr)?.[1])
  await town.admin('POST', `/workers/${id}/approve`)
  await town.cli('workers', 'block', id, '--because', 'answers from a cache')
  expect(await first.ended).toBe(1)
  expect(first.stderr).toContain('worker_blocked')
  const again = join()
  expect(await again.ended).toBe(1)
  expect(again.stderr).toContain('worker_blocked')
  expect((await town.cli('workers', 'blocks')).out).toContain('answers from a cache')
  const appeal = town.run(['worker', 'appeal', '--because', 'it was another machine', '--data', dataDir])
  expect(await appeal.ended).toBe(0)
  const { data: appeals } = (await town.cli('workers', 'appeals', '--json')).json as {
    data: { id: string; worker: string }[]
  }
  expect(appeals.map(({ worker }) => worker)).toEqual([id])
  const decide = (...args: string[]) => town.cli('workers', 'decide', ...args, '--because', 'so it was')
  expect(await decide('x', '--grant')).toMatchObject({ code: 1, err: expect.stringContaining('There is no appeal x.') })
  expect((await decide(appeals[0]?.id ?? '', '--grant', '--refuse')).code).toBe(2)
  expect((await town.cli('workers', 'block', '--because', 'nobody is named')).code).toBe(2)
  expect((await decide(appeals[0]?.id ?? '', '--grant')).code).toBe(0)
  expect((await town.cli('workers', 'blocks')).out).toContain('Nobody is blocked.')
  await town.cli('workers', 'block', '--address', '192.0.2.0/24', '--because', 'stolen laptops')
  await town.cli('workers', 'unblock', '--address', '192.0.2.0/24')
  const { data } = (
    await town.cli('workers', 'rotate', '--operator', 'bob', '--because', 'a laptop was stolen', '--json')
  ).json as { data: { worker: string; invite: string }[] }
  expect(data.map(({ worker }) => worker)).toEqual([id])
  const renewed = join(data[0]?.invite ?? '', '--new-key')
  const newId = await eventually('it to ask anew', () => /workers approve ([0-9a-f]{64})/.exec(renewed.stderr)?.[1])
  expect(newId).not.toBe(id)
  await renewed.stop()
  const { json } = await town.cli('events', '--json', '--type', 'worker_blocked,worker_unblocked,workers_rotated')
  const types = (json as { data: { type: string }[] }).data.map(({ type }) => type)
  expect(types).toEqual(['worker_blocked', 'worker_blocked', 'worker_unblocked', 'workers_rotated'])
})

test('a worker whose engine fails again and again gets no work: its circuit opens in the whole pool, and a reset closes it', async () => {
  const engine = http.createServer((request, response) => {
    request.resume()
    const isList = request.url === '/v1/models'
    response.writeHead(isList ? 200 : 500, { 'content-type': 'application/json' })
    response.end(JSON.stringify(isList ? { data: [{ id: 'broken' }] } : { error: { message: 'out of memory' } }))
  })
  await new Promise<void>((resolve) => engine.listen(0, '127.0.0.1', resolve))
  const { port } = engine.address() as AddressInfo
  const { invite } = (await town.cli('invite', '--operator', 'carl', '--json')).json as { invite: string }
  const program = town.run(
    ['worker', 'join', invite, '--upstream', `http://127.0.0.1:${port}`].concat(
      '--data',
      path.join(town.folder, 'carl'),
    ),
  )
  const id = await eventually('the worker to ask', () => /workers approve ([0-9a-f]{64})/.exec(program.stderr)?.[1])
  await town.admin('POST', `/workers/${id}/approve`)
  const circuit = async () =>
    (await town.workers()).find((worker) => worker.id === id) as { circuit?: string } | undefined
  const messages = [{ role: 'user' as const, content: 'hello' }]
  await eventually('its circuit to open', async () => {
    await town
      .client()
      .chat.completions.create({ model: 'broken', messages })
      .catch(() => undefined)
    return (await circuit())?.circuit === 'open' || undefined
  })
  await eventually('the event to be on record', async () => {
    const { out } = await town.cli('events', '--type', 'circuit_opened')
    return out.includes(id.slice(0, 12)) || undefined
  })
  expect((await town.cli('workers', 'ls')).out).toContain('no work: failed too often')
  expect((await town.cli('workers', 'reset', id)).out).toContain(': begins afresh, approved.')
  await eventually('its circuit to close', async () => (await circuit())?.circuit === 'closed' || undefined)
  await program.stop()
  engine.closeAllConnections()
  engine.close()
})
