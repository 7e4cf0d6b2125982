import OpenAI from 'openai'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ApiDouble } from '../../testkit/api-double.ts'
import { SmallPool } from '../../testkit/small-pool.ts'
import { answersIn, diesAfter, hangsAfter, type SmallWorkerOptions, smallAnswer } from '../../testkit/small-workers.ts'
import { type TestDatabase, testDatabase } from '../../testkit/test-database.ts'

let db: TestDatabase
beforeAll(async () => {
  db = await testDatabase()
})
afterAll(() => db.drop())

const messages = [{ role: 'user' as const, content: 'tell me about lichen' }]
const said = (tokens: number) => smallAnswer(tokens).join('')

/** The API over the real room of jobs on a real database; only the workers are small. */
class Pool implements AsyncDisposable {
  readonly small: SmallPool
  readonly api: ApiDouble
  readonly client: OpenAI

  private constructor(small: SmallPool, api: ApiDouble) {
    this.small = small
    this.api = api
    this.client = api.client()
  }

  static async open(): Promise<Pool> {
    const small = await SmallPool.open(db.database)
    return new Pool(small, await ApiDouble.open({ jobs: small.jobs }))
  }

  join(name: string, options: SmallWorkerOptions) {
    const worker = this.small.workers.join(name, options)
    this.api.models.put(worker)
    return worker
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.api[Symbol.asyncDispose]()
    await this.small[Symbol.asyncDispose]()
  }
}

test('whole and streamed answers of a worker reach the official client', async () => {
  await using pool = await Pool.open()
  pool.join('ann', { plan: answersIn(5) })
  const whole = await pool.client.chat.completions.create({ model: 'moss', messages, n: 2 })
  expect(whole.choices.map((choice) => choice.message.content)).toEqual([said(5), said(5)])
  expect(whole.usage).toMatchObject({ prompt_tokens: 3, completion_tokens: 10 })
  const stream = pool.client.chat.completions.stream({ model: 'moss', messages, stop: 'w3' })
  const final = await stream.finalChatCompletion()
  expect(final.choices[0]).toMatchObject({ message: { content: said(3) }, finish_reason: 'stop' })
})

test('when a worker dies in mid-stream another continues, and the client sees one unbroken stream', async () => {
  await using pool = await Pool.open()
  pool.join('ann', { plan: diesAfter(3) })
  const stream = await pool.client.chat.completions.create({ model: 'moss', messages, stream: true })
  const second = pool.join('bob', { plan: answersIn(8) })
  let text = ''
  for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? ''
  expect(second.had).toHaveLength(1)
  expect(text).toBe(said(8))
})

test('with nobody to continue, the stream ends in an error event', async () => {
  await using pool = await Pool.open()
  pool.join('ann', { plan: diesAfter(3) })
  const stream = await pool.client.chat.completions.create({ model: 'moss', messages, stream: true })
  const read = async () => {
    for await (const _ of stream);
  }
  await expect(read()).rejects.toMatchObject({ code: 'worker_lost' })
})

test('a model that never was is 404, one whose workers are away is 503, and a client is told when to come back', async () => {
  await using pool = await Pool.open()
  await expect(pool.client.chat.completions.create({ model: 'gpt-9', messages })).rejects.toMatchObject({
    status: 404,
    code: 'model_not_found',
  })
  pool.join('ann', {}).die()
  pool.api.models.remove(Buffer.from('ann'.padEnd(32, '.')).toString('hex'))
  const refused = pool.client.chat.completions.create({ model: 'moss', messages })
  const error = await refused.then(undefined, (thrown) => thrown)
  expect(error).toBeInstanceOf(OpenAI.InternalServerError)
  expect(error).toMatchObject({ status: 503, code: 'no_worker' })
  expect(Number(error.headers.get('retry-after'))).toBeGreaterThan(0)
})

test('a client that leaves cancels the run on the worker', async () => {
  await using pool = await Pool.open()
  const worker = pool.join('ann', { plan: hangsAfter(2) })
  const stream = await pool.client.chat.completions.create({ model: 'moss', messages, stream: true })
  for await (const chunk of stream) if (chunk.choices[0]?.delta.content) break
  await expect.poll(() => worker.had[0]?.cancelled).toBe(true)
  const [job] = await pool.small.jobs.list({ limit: 1 })
  await expect.poll(async () => (await pool.small.jobs.show(job?.id ?? ''))?.state).toBe('cancelled')
})

test('a repeated request is answered from memory by the real room too', async () => {
  await using pool = await Pool.open()
  const worker = pool.join('ann', { plan: answersIn(2) })
  const body = { model: 'moss', messages }
  const [first, second] = await Promise.all(
    [1, 2].map(() => pool.api.post('/v1/chat/completions', body, { 'idempotency-key': 'same' })),
  )
  expect(await second?.text()).toBe(await first?.text())
  expect(worker.had).toHaveLength(1)
  const streamed = { ...body, stream: true }
  await (await pool.api.post('/v1/chat/completions', streamed, { 'idempotency-key': 'stream' })).text()
  await expect
    .poll(async () => {
      const again = await pool.api.post('/v1/chat/completions', streamed, { 'idempotency-key': 'stream' })
      return [again.status, again.headers.get('x-should-retry')]
    })
    .toEqual([409, 'false'])
})

test('vectors of a worker arrive as the client wants them', async () => {
  await using pool = await Pool.open()
  pool.join('ann', {
    plan: (run) => {
      run.vector(0, [0.5, -0.25])
      run.vector(1, [1, 2])
      run.end('stop', { promptTokens: 4, completionTokens: 0 })
    },
  })
  const { data } = await pool.client.embeddings.create({ model: 'moss', input: ['a', 'b'] })
  expect(data.map((one) => [...one.embedding])).toEqual([
    [0.5, -0.25],
    [1, 2],
  ])
})
