import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventually, isAlive, Neighbourhood, processTree } from '#testkit'

const town = new Neighbourhood()
const question = {
  model: 'lichen-demo',
  messages: [{ role: 'user' as const, content: 'tell me about lichen' }],
  temperature: 0,
  max_tokens: 400,
}
let whole = ''

beforeAll(async () => {
  await town.start('pool')
  await town.join('ada')
  whole = (await town.client().chat.completions.create(question)).choices[0]?.message.content ?? ''
})
afterAll(() => town[Symbol.asyncDispose]())

const busyWorker = () =>
  eventually('a busy worker', async () => (await town.workers()).find((worker) => worker.active > 0))

test('with no other worker, a death in mid-stream is an error event, never silence', async () => {
  const ada = town.programs.at(-1)
  const stream = await town.client().chat.completions.create({ ...question, stream: true })
  let text = ''
  const reading = (async () => {
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? ''
      if (text) await ada?.crash()
    }
  })()
  await expect(reading).rejects.toThrow(/worker/i)
  expect(whole.startsWith(text)).toBe(true)
  expect(text.length).toBeLessThan(whole.length)
})

test('killed in mid-stream, the answer goes on at another worker and nobody can tell', async () => {
  const workers = [await town.join('bob'), await town.join('carla')]
  const stream = await town.client().chat.completions.create({ ...question, stream: true })
  const receipt = (await town.admin<{ data: { id: string }[] }>('GET', '/jobs?limit=1')).data[0]?.id
  let text = ''
  let killed: string | undefined
  let finish: string | null = null
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? ''
    finish = chunk.choices[0]?.finish_reason ?? finish
    if (text && !killed) {
      killed = (await busyWorker()).id
      await workers.find((worker) => worker.id === killed)?.program.crash()
    }
  }
  expect(text).toBe(whole)
  expect(finish).toBe('stop')
  const job = await eventually('the job to settle', async () => {
    const shown = await town.admin<{ state: string; segments: { worker: string }[] }>('GET', `/jobs/${receipt}`)
    return shown.state === 'completed' && shown
  })
  expect(job.segments.map((segment) => segment.worker)).toEqual([
    killed,
    workers.find((worker) => worker.id !== killed)?.id,
  ])
})

test('killed before the first token, the client never learns of it', async () => {
  const spare = await town.join('dora')
  const frozen = new Set<number>()
  const ids = (await town.workers()).filter((worker) => worker.connected && worker.id !== spare.id)
  expect(ids).toHaveLength(1)
  // The other worker is stopped, so that it takes work and never says a word; then it dies.
  const other = town.programs.filter((program) => program.running && program !== town.pool && program !== spare.program)
  for (const program of other) for (const pid of processTree(program.pid)) frozen.add(pid)
  for (const pid of frozen) process.kill(pid, 'SIGSTOP')
  const answers = Promise.all(Array.from({ length: 4 }, () => town.client().chat.completions.create(question)))
  await eventually('work on the stopped worker', async () =>
    (await town.workers()).some((worker) => worker.id === ids[0]?.id && worker.active > 0),
  )
  for (const pid of frozen) if (isAlive(pid)) process.kill(pid, 'SIGKILL')
  for (const answer of await answers) expect(answer.choices[0]?.message.content).toBe(whole)
})

test('a revoked worker is gone within a second, its work goes elsewhere, and its key stays out', async () => {
  const eve = await town.join('eve')
  const stream = await town.client().chat.completions.create({ ...question, stream: true })
  let text = ''
  let revoked = false
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? ''
    if (text && !revoked) {
      revoked = true
      await town.admin('POST', `/workers/${(await busyWorker()).id}/revoke`)
    }
  }
  expect(text).toBe(whole)
  await town.admin('POST', `/workers/${eve.id}/revoke`)
  await eventually(
    'the session to be closed',
    async () => !(await town.workers()).find((worker) => worker.id === eve.id)?.connected,
    3_000,
  )
  expect(await eve.program.ended).not.toBe(0)
  expect(eve.program.stderr).toMatch(/revoked/)
  const again = town.run(['worker', 'join', '--json', '--data', eve.dataDir])
  expect(await again.ended).not.toBe(0)
  await town.admin('POST', `/workers/${eve.id}/renew`, { expires_in_ms: 86_400_000 })
  town.run(['worker', 'join', '--json', '--data', eve.dataDir])
  await eventually(
    'eve to be back',
    async () => (await town.workers()).find((worker) => worker.id === eve.id)?.connected,
  )
})
