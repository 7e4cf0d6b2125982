import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventually, isAlive, Neighbourhood, processTree } from '#testkit'

const town = new Neighbourhood()
const ask = (content: string) => ({
  model: 'lichen-demo',
  messages: [{ role: 'user' as const, content }],
  temperature: 0,
  max_tokens: 400,
})

beforeAll(() => town.start('up'))
afterAll(() => town[Symbol.asyncDispose]())

test('a second start on the same folder is refused with a sentence', async () => {
  const second = town.run(['up', '--json', '--port', '0', '--data', town.dataDir])
  expect(await second.ended).toBe(1)
  expect(second.stderr).toMatch(/already|in use/i)
  expect(second.stdout).toEqual([])
})

test('killed under load and started again, the pool answers and every accepted job has an end', async () => {
  const load = Array.from({ length: 24 }, (_, i) =>
    town
      .client()
      .chat.completions.create({ ...ask(i % 2 ? 'tell me about lichen' : '1+1=?'), stream: i % 2 === 1 } as never)
      .then(async (answer) => {
        for await (const _ of answer as unknown as AsyncIterable<unknown>);
      })
      .catch(() => undefined),
  )
  await eventually('work in flight', async () => (await town.workers()).some((worker) => worker.active > 0))
  await town.pool?.crash()
  await Promise.all(load)
  await town.start('up')
  const answer = await town.client().chat.completions.create(ask('3+4=?'))
  expect(answer.choices[0]?.message.content).toBe('7')
  await eventually('every job to have an end', async () => {
    const { data } = await town.admin<{ data: { state: string }[] }>('GET', '/jobs?limit=100')
    const open = data.filter((job) => ['queued', 'leased', 'streaming'].includes(job.state))
    return open.length === 0 && data.some((job) => job.state === 'interrupted')
  })
})

test('the database is killed under load: the pool brings it back and goes on', async () => {
  const postmaster = () => {
    const all = processTree(town.pool?.pid ?? 0).filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'postgres'
      } catch {
        return false
      }
    })
    return all[0] ?? 0
  }
  const before = postmaster()
  expect(before).toBeGreaterThan(0)
  const load = Promise.allSettled(Array.from({ length: 40 }, () => town.client().chat.completions.create(ask('2+3=?'))))
  process.kill(before, 'SIGKILL')
  const outcomes = await load
  for (const outcome of outcomes) {
    if (outcome.status === 'fulfilled') expect(outcome.value.choices[0]?.message.content).toBe('5')
    else expect(outcome.reason).toMatchObject({ status: 503, code: 'database_unavailable' })
  }
  const answer = await eventually('an answer after the restart', () =>
    town
      .client()
      .chat.completions.create(ask('3+4=?'))
      .catch(() => undefined),
  )
  expect(answer.choices[0]?.message.content).toBe('7')
})

test('SIGTERM leaves nothing running', async () => {
  const everyone = processTree(town.pool?.pid ?? 0)
  expect(everyone.length).toBeGreaterThan(2)
  expect(await town.pool?.stop()).toBe(0)
  await eventually('all of them to end', () => everyone.every((pid) => !isAlive(pid)), 10_000)
})
