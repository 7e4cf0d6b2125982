import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { type ChatRequest, PoolError, TextAssembler, type Token } from '#protocol'
import { systemRuntime } from '#runtime'
import { simulatedRuntime, temporaryFolder } from '#testkit'
import { writeRandomModel } from '../../../tools/demo-model/random-model.ts'
import type { EngineEnd, EngineSink, EngineTask } from '../engine.ts'
import { engineLimits } from '../limits.ts'
import type { LlamaEngine } from './llama-engine.ts'
import { openLlamaEngine } from './open-llama-engine.ts'

const folder = temporaryFolder()
const file = path.join(folder.path, 'random.gguf')
const log = { info() {}, warn() {} }
const open = (more: object = {}) =>
  openLlamaEngine({ models: [{ path: file }], threads: 1, runtime: systemRuntime, log, ...more })

let engine: LlamaEngine
beforeAll(async () => {
  writeRandomModel(file, { dim: 64, layers: 2, heads: 4, kvHeads: 2, ff: 128, context: 2048, seed: 1 })
  engine = await open()
})
afterAll(async () => {
  await engine[Symbol.asyncDispose]()
  folder[Symbol.dispose]()
})

/** Random weights like to end at once: id 2 ends an answer, 0 and 1 add nothing to its text. */
const noEnd = { logit_bias: { 0: -100, 1: -100, 2: -100 } }

function task(request: Partial<ChatRequest> = {}, more: Partial<EngineTask> = {}): EngineTask {
  const whole = { model: 'random', messages: [{ role: 'user' as const, content: 'hello' }], ...request }
  const fixed = {
    kind: 'chat' as const,
    model: 'random',
    choice: 0,
    seed: Buffer.alloc(32, 7),
    maxTokens: 60,
    resume: [],
  }
  return { ...fixed, body: Buffer.from('{}'), request: whole, ...more } as EngineTask
}

interface Answer extends EngineEnd {
  readonly tokens: Token[]
  readonly ids: number[]
  readonly bytes: Buffer
  readonly vectors: Float32Array[]
}

async function run(what: EngineTask, on = engine, signal = new AbortController().signal): Promise<Answer> {
  const tokens: Token[] = []
  const vectors: Float32Array[] = []
  const sink: EngineSink = {
    tokens: (more) => {
      tokens.push(...more)
    },
    delta: () => {},
    vector: (index, values) => {
      vectors[index] = values
    },
  }
  const end = await on.run(what, sink, signal)
  return {
    ...end,
    tokens,
    vectors,
    ids: tokens.map(({ id }) => id),
    bytes: Buffer.concat(tokens.map(({ piece }) => piece)),
  }
}

test('a model is offered by its file name and digest, with what it can do', () => {
  const sha256 = createHash('sha256').update(readFileSync(file)).digest('hex')
  const features = ['chat', 'completion', 'embedding', 'logprobs', 'json_schema', 'resume', 'continue']
  expect(engine.offers).toEqual([{ name: 'random', digest: sha256, engine: 'llama', contextTokens: 2048, features }])
  expect(engine.slots).toBe(4)
})

test('an answer has as many tokens as were allowed, and says how many there were', async () => {
  const answer = await run(task({ temperature: 0, ...noEnd }))
  expect(answer).toMatchObject({ finish: 'length', usage: { completionTokens: 60 } })
  expect(answer.usage.promptTokens).toBe(1 + Buffer.byteLength('<|user|>hello<|assistant|>'))
  expect(answer.ids.length).toBe(60)
})

test('the same seed gives the same answer, another seed or choice another one', async () => {
  const [first, again, otherSeed, otherChoice] = await Promise.all([
    run(task({ ...noEnd })),
    run(task({ ...noEnd })),
    run(task({ ...noEnd }, { seed: Buffer.alloc(32, 8) })),
    run(task({ ...noEnd }, { choice: 1 })),
  ])
  expect(again.ids).toEqual(first.ids)
  expect(otherSeed.ids).not.toEqual(first.ids)
  expect(otherChoice.ids).not.toEqual(first.ids)
})

const penalised = { temperature: 1.2, top_p: 0.9, frequency_penalty: 0.7, presence_penalty: 0.3 }
test.each([{ temperature: 0 }, { temperature: 1 }, { ...penalised }])(
  'an answer begun elsewhere goes on as if nothing had happened (%j)',
  async (settings) => {
    const whole = await run(task({ ...settings, ...noEnd }))
    const rest = await run(task({ ...settings, ...noEnd }, { resume: whole.ids.slice(0, 25) }))
    expect(rest.ids).toEqual(whole.ids.slice(25))
    expect(rest).toMatchObject({ finish: 'length', usage: { ...whole.usage, completionTokens: 35 } })
  },
)

test('nothing is left to do for an answer that was already complete', async () => {
  const whole = await run(task({ temperature: 0, ...noEnd }))
  const rest = await run(task({ temperature: 0, ...noEnd }, { resume: whole.ids }))
  expect(rest).toMatchObject({ finish: 'length', ids: [], usage: { completionTokens: 0 } })
})

test('at temperature 0 the fast path and the sampler agree', async () => {
  const [fast, sampled] = await Promise.all([
    run(task({ temperature: 0 })),
    run(task({ temperature: 0, logprobs: true, top_logprobs: 3 })),
  ])
  expect(sampled.ids).toEqual(fast.ids)
  for (const { logprob, top } of sampled.tokens) {
    expect(top).toHaveLength(3)
    expect(logprob).toBe(top?.[0]?.logprob)
  }
})

test('log probabilities are those of the model, whatever the temperature', async () => {
  const { tokens } = await run(task({ temperature: 2, logprobs: true, top_logprobs: 20 }, { maxTokens: 20 }))
  for (const { logprob = 1, top = [], piece } of tokens) {
    const sum = top.reduce((total, one) => total + Math.exp(one.logprob), 0)
    expect(sum).toBeGreaterThan(0.2)
    expect(sum).toBeLessThan(1.0001)
    expect(top.map((one) => one.logprob)).toEqual(top.map((one) => one.logprob).toSorted((a, b) => b - a))
    const listed = top.find((one) => one.piece.equals(piece))
    if (listed) expect(listed.logprob).toBe(logprob)
    else expect(logprob).toBeLessThanOrEqual(top.at(-1)?.logprob ?? 0)
  }
  const plain = await run(task({ temperature: 2, logprobs: true }, { maxTokens: 20 }))
  expect(plain.ids).toEqual(tokens.map(({ id }) => id))
  expect(plain.tokens[0]?.top).toEqual([])
})

test('a bias can force a token and end an answer', async () => {
  const forced = await run(task({ logit_bias: { 68: 100 } }, { maxTokens: 5 }))
  expect(forced.bytes.toString()).toBe('AAAAA')
  expect(await run(task({ logit_bias: { 2: 100 } }))).toMatchObject({ finish: 'stop', ids: [] })
})

test('an answer ends with the token that completes a stop string', async () => {
  const whole = await run(task({ temperature: 0, ...noEnd }))
  const letters = whole.bytes.toString('latin1')
  const at = [...letters].findIndex((_, i) => i > 20 && /^[\x21-\x7e]{2}$/.test(letters.slice(i, i + 2)))
  expect(at, 'two letters in a row').toBeGreaterThan(0)
  const stop = letters.slice(at, at + 2)
  const stopped = await run(task({ temperature: 0, ...noEnd, stop: ['never said', stop] }))
  const first = letters.indexOf(stop)
  expect(stopped).toMatchObject({ finish: 'stop', ids: whole.ids.slice(0, first + 2) })
  const assembler = new TextAssembler([stop])
  const shown = stopped.tokens.map(({ piece }) => assembler.push(piece)).join('')
  expect(shown).not.toContain(stop)

  // Cut in the middle of the stop string, another worker still sees it.
  const resume = whole.ids.slice(0, first + 1)
  const rest = await run(task({ temperature: 0, ...noEnd, stop }, { resume }))
  expect(rest).toMatchObject({ finish: 'stop', ids: whole.ids.slice(first + 1, first + 2) })
})

test('a text completion continues each of its prompts', async () => {
  const request = { model: 'random', prompt: ['one', 'three'], n: 2, temperature: 0, ...noEnd }
  const [first, last] = await Promise.all(
    [0, 3].map((choice) => run(task({}, { kind: 'completion', request, choice }))),
  )
  expect([first?.usage.promptTokens, last?.usage.promptTokens]).toEqual([4, 6])
  const single = { ...request, prompt: 'three', n: 1 }
  const alone = await run(task({}, { kind: 'completion', request: single }))
  expect(last?.ids).toEqual(alone.ids)
})

test('answers computed together are as long and as likely as those computed alone', async () => {
  const asks = ['a', 'bb', 'ccc', 'dddd'].map((content) =>
    task({ messages: [{ role: 'user', content }], temperature: 0, ...noEnd, logprobs: true }),
  )
  const alone: Answer[] = []
  for (const ask of asks) alone.push(await run(ask))
  const together = await Promise.all(asks.map((ask) => run(ask)))
  // Batches round differently, so a near tie may fall either way; then the rest differs. Up to there they agree.
  for (const [index, answer] of together.entries()) {
    const reference = alone[index]
    const differs = answer.ids.findIndex((id, i) => id !== reference?.ids[i])
    const same = differs < 0 ? answer.ids.length : differs
    for (let i = 0; i < same; i++) {
      expect(answer.tokens[i]?.logprob).toBeCloseTo(reference?.tokens[i]?.logprob ?? 1, 2)
    }
    expect(answer.ids.length).toBe(60)
  }
})

test('more requests than slots are all served', async () => {
  const answers = await Promise.all(
    Array.from({ length: 12 }, (_, choice) => run(task({ ...noEnd }, { choice, maxTokens: 20 }))),
  )
  expect(answers.map(({ ids }) => ids.length)).toEqual(Array(12).fill(20))
})

const schemas = {
  flat: {
    type: 'object',
    properties: {
      name: { type: 'string', maxLength: 8 },
      age: { type: 'integer', minimum: 0, maximum: 130 },
      colour: { enum: ['red', 'green'] },
      nick: { type: 'string', minLength: 1, maxLength: 3 },
    },
    required: ['name', 'age', 'colour'],
    additionalProperties: false,
  },
  list: { type: 'array', items: { anyOf: [{ type: 'null' }, { type: 'boolean' }] }, minItems: 1, maxItems: 4 },
}
const asSchema = (schema: object): Partial<ChatRequest> => ({
  response_format: { type: 'json_schema', json_schema: { name: 's', schema: { ...schema } } },
})

test.each(Object.entries(schemas))('every answer bound to a schema is JSON of that schema (%s)', async (_, schema) => {
  const valid = z.fromJSONSchema(schema as never)
  const answers = await Promise.all(
    Array.from({ length: 24 }, (_, choice) =>
      run(task({ ...asSchema(schema), temperature: 1.5 }, { choice, maxTokens: 400 })),
    ),
  )
  for (const { finish, bytes } of answers) {
    expect(finish).toBe('stop')
    const text = new TextDecoder('utf8', { fatal: true }).decode(bytes)
    expect(valid.safeParse(JSON.parse(text)).success, text).toBe(true)
  }
})

test('an answer that may be any object is one, however long it takes', async () => {
  const answers = await Promise.all(
    Array.from({ length: 12 }, (_, choice) =>
      run(task({ response_format: { type: 'json_object' }, temperature: 2 }, { choice, maxTokens: 1500 })),
    ),
  )
  const ended = answers.filter(({ finish }) => finish === 'stop')
  expect(ended.length).toBeGreaterThan(0)
  for (const { bytes } of ended) {
    const value = JSON.parse(new TextDecoder('utf8', { fatal: true }).decode(bytes))
    expect(Object.prototype.toString.call(value)).toBe('[object Object]')
  }
})

test('an answer bound to a schema can be continued at temperature 0, and only there', async () => {
  const whole = await run(task({ ...asSchema(schemas.flat), temperature: 0 }, { maxTokens: 400 }))
  const rest = await run(
    task({ ...asSchema(schemas.flat), temperature: 0 }, { maxTokens: 400, resume: whole.ids.slice(0, 9) }),
  )
  expect(rest.ids).toEqual(whole.ids.slice(9))
  const resume = whole.ids.slice(0, 9)
  await expect(run(task({ ...asSchema(schemas.flat), temperature: 1 }, { resume }))).rejects.toMatchObject({
    code: 'worker_lost',
  })
})

test('vectors have length one and are the same each time', async () => {
  const request = { model: 'random', input: ['lichen', 'moss', 'lichen'] }
  const { vectors, usage } = await run(task({}, { kind: 'embedding', request }))
  expect(vectors.map((vector) => vector.length)).toEqual([64, 64, 64])
  for (const vector of vectors) expect(Math.hypot(...vector)).toBeCloseTo(1, 5)
  expect(vectors[2]).toEqual(vectors[0])
  expect(vectors[1]).not.toEqual(vectors[0])
  expect(usage).toEqual({ promptTokens: 7 + 5 + 7, completionTokens: 0 })
})

const image = { type: 'image_url' as const, image_url: { url: 'data:image/png;base64,AA==' } }
const tool = { type: 'function' as const, function: { name: 'f' } }
const embedding = (request: object) =>
  task({}, { kind: 'embedding', request: { model: 'random', ...request } } as never)
test.each<[string, EngineTask, string, string]>([
  ['tools', task({ tools: [tool] }), 'unsupported_parameter', 'tools'],
  ['pictures', task({ messages: [{ role: 'user', content: [image] }] }), 'unsupported_parameter', 'messages'],
  ['probabilities of JSON', task({ ...asSchema({}), logprobs: true }), 'unsupported_parameter', 'logprobs'],
  ['an impossible schema', task(asSchema({ enum: [] })), 'invalid_schema', 'response_format'],
  ['other dimensions', embedding({ input: 'a', dimensions: 32 }), 'unsupported_parameter', 'dimensions'],
  ['a long input', embedding({ input: 'a'.repeat(3000) }), 'context_length_exceeded', 'input'],
  ['a model it has not', task({}, { model: 'other' }), 'model_not_found', 'model'],
  ['ids of another vocabulary', task({}, { resume: [99_999] }), 'protocol_violation', 'undefined'],
])('%s are refused with the reason', async (_, what, code, param) => {
  const failure = await run(what).then(
    () => undefined,
    (error: unknown) => error,
  )
  expect(failure).toBeInstanceOf(PoolError)
  expect(failure).toMatchObject({ code })
  expect(String((failure as PoolError).refusal.param)).toBe(param)
})

test('a prompt that does not fit is refused with both numbers; one that just fits ends with the context', async () => {
  const prompt = (length: number) => task({ messages: [{ role: 'user', content: 'x'.repeat(length) }], ...noEnd })
  const frame = 1 + Buffer.byteLength('<|user|><|assistant|>')
  const failure = await run(prompt(2048)).catch((error: unknown) => error)
  expect(failure).toMatchObject({ code: 'context_length_exceeded' })
  expect((failure as Error).message).toMatch(new RegExp(`2048 .* ${2048 + frame}`))
  const tight = await run(prompt(2048 - frame - 7))
  expect(tight).toMatchObject({ finish: 'length', usage: { promptTokens: 2041, completionTokens: 7 } })
})

test('a cancelled answer ends at once and its slot serves the next', async () => {
  for (const content of ['short', 'long '.repeat(400)]) {
    const client = new AbortController()
    let got = 0
    const sink = {
      tokens: (more: Token[]) => {
        got += more.length
        client.abort(new Error('the client went away'))
      },
      delta() {},
      vector() {},
    }
    const ask = task({ messages: [{ role: 'user', content }], ...noEnd }, { maxTokens: 40 })
    await expect(engine.run(ask, sink, client.signal)).rejects.toThrow('the client went away')
    expect(got).toBeLessThan(40)
  }
  const early = AbortSignal.timeout(5)
  await expect(run(task({ messages: [{ role: 'user', content: 'y'.repeat(2000) }] }), engine, early)).rejects.toThrow()
  const answers = await Promise.all([0, 1, 2, 3].map((choice) => run(task({ ...noEnd }, { choice, maxTokens: 10 }))))
  expect(answers.map(({ ids }) => ids.length)).toEqual([10, 10, 10, 10])
})

test('a slow reader holds the engine back', async () => {
  let got = 0
  const { promise: hold, resolve: release } = Promise.withResolvers<void>()
  const sink = {
    tokens: (more: Token[]) => {
      got += more.length
      return hold
    },
    delta() {},
    vector() {},
  }
  const running = engine.run(task({ ...noEnd }, { maxTokens: 1500 }), sink, new AbortController().signal)
  const quick = await run(task({ ...noEnd }, { maxTokens: 1000, choice: 1 })) // others are served meanwhile
  expect(quick.ids.length).toBe(1000)
  expect(got).toBeLessThanOrEqual(engineLimits.tokensAheadMax)
  release()
  await running
  expect(got).toBe(1500)
})

test('a sink that fails ends its own run only', async () => {
  const sink = { tokens: () => Promise.reject(new Error('the session closed')), delta() {}, vector() {} }
  await expect(engine.run(task({ ...noEnd }), sink, new AbortController().signal)).rejects.toThrow('the session closed')
  expect((await run(task({ ...noEnd }))).ids.length).toBe(60)
})

test('the next turn of a conversation is answered as a fresh engine answers it', async () => {
  const turns = [{ role: 'user' as const, content: 'What grows on stones, slowly and together?' }]
  const first = await run(task({ messages: turns, temperature: 0, ...noEnd }, { maxTokens: 12 }))
  const reply = { role: 'assistant' as const, content: first.bytes.toString('latin1').replace(/[^ -~]/g, '?') }
  const next = task({ messages: [...turns, reply, { role: 'user', content: 'Why?' }], temperature: 0, ...noEnd })
  const reused = await run(next)
  await using fresh = await open({ slots: 1 })
  const whole = await run(next, fresh)
  expect(reused.usage).toEqual(whole.usage)
  expect(reused.ids).toEqual(whole.ids)
})

test('an engine process that is killed takes its tasks with it, nothing else, and comes back', async () => {
  await using mortal = await open()
  const said: string[] = []
  const back = Promise.withResolvers<void>()
  mortal.onDown = (reason) => said.push(reason)
  mortal.onOffersChanged = () => mortal.offers.length > 0 && back.resolve()
  const { pid = 0 } = mortal
  const sink = { tokens: () => void process.kill(pid, 'SIGKILL'), delta() {}, vector() {} }
  const failure = await mortal
    .run(task({ ...noEnd }, { maxTokens: 2000 }), sink, new AbortController().signal)
    .catch((error: unknown) => error)
  expect(failure).toBeInstanceOf(Error)
  expect(failure).not.toBeInstanceOf(PoolError)
  expect(said).toEqual(['The engine process ended (SIGKILL).'])
  expect(mortal.offers).toEqual([])
  await expect(run(task(), mortal)).rejects.toThrow('SIGKILL')
  await back.promise
  expect(mortal.pid).not.toBe(pid)
  expect((await run(task({ temperature: 0, ...noEnd }), mortal)).ids.length).toBe(60)
})

test('a request that is stuck before its first token loses its engine, and only its first time goes elsewhere', async () => {
  const runtime = simulatedRuntime()
  await using stuck = await open({ runtime })
  const poison = task({ ...noEnd }, { body: Buffer.from('poison') })
  const stop = async () => {
    const { pid = 0 } = stuck
    const failure = run(poison, stuck).catch((error: unknown) => error)
    process.kill(pid, 'SIGSTOP')
    await runtime.pass(engineLimits.beatMs * (engineLimits.beatsMissedMax + 1))
    const error = await failure
    runtime.advance(engineLimits.restartMsMax)
    await expect.poll(() => stuck.offers.length, { timeout: 20_000 }).toBe(1)
    return error
  }
  const first = await stop()
  expect(first).not.toBeInstanceOf(PoolError)
  expect(String(first)).toContain('The engine process ended (silent).')
  expect(await stop()).toMatchObject({ code: 'invalid_request', status: 400 })
  await expect(run(poison, stuck)).rejects.toMatchObject({ code: 'invalid_request' })
  expect((await run(task({ ...noEnd }), stuck)).ids.length).toBe(60)
})

test('of what an engine took with it, an answer bound to a schema is not tried elsewhere', async () => {
  await using mortal = await open()
  const schema = { type: 'array', items: { type: 'boolean' }, minItems: 900 }
  const { pid = 0 } = mortal
  const [bound, any, free] = await Promise.allSettled([
    run(task(asSchema(schema), { maxTokens: 1900 }), mortal),
    run(task({ response_format: { type: 'json_object' } }, { body: Buffer.from('any') }), mortal),
    mortal.run(
      task({ ...noEnd }, { body: Buffer.from('free'), maxTokens: 1900 }),
      { tokens: () => void process.kill(pid, 'SIGKILL'), delta() {}, vector() {} },
      new AbortController().signal,
    ),
  ])
  for (const one of [bound, any]) {
    expect(one).toMatchObject({ status: 'rejected', reason: { code: 'invalid_schema', status: 400 } })
  }
  expect(free).toMatchObject({ status: 'rejected', reason: expect.any(Error) })
  expect((free as PromiseRejectedResult).reason).not.toBeInstanceOf(PoolError)
})

test('a worker that closes its engine blames nobody', async () => {
  const brief = await open()
  const running = run(task(asSchema({ type: 'array', items: {}, minItems: 900 }), { maxTokens: 1900 }), brief)
  const failure = running.catch((error: unknown) => error)
  await brief[Symbol.asyncDispose]()
  expect(await failure).not.toBeInstanceOf(PoolError)
})

test('a schema that would stall the others is refused, and they are answered', async () => {
  const a = { $ref: '#/$defs/a' }
  const pair = (last: number) => ({ type: 'array', prefixItems: [a, { const: last }], items: false })
  const schema = { $defs: { a: { anyOf: [pair(1), pair(2), { type: 'null' }] } }, ...a }
  const brackets = { logit_bias: { [3 + '['.charCodeAt(0)]: 100 } } // as many brackets as it may
  const [bad, good] = await Promise.allSettled([
    run(task({ ...asSchema(schema), ...brackets })),
    run(task({ ...noEnd })),
  ])
  expect(bad).toMatchObject({ status: 'rejected', reason: { code: 'invalid_schema' } })
  expect(good).toMatchObject({ status: 'fulfilled', value: { finish: 'length' } })
})

const alive = (pid: number) => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

test.runIf(process.platform === 'linux')('an engine process opens no network socket', async () => {
  await run(task({ ...noEnd }))
  const { pid = 0 } = engine
  const descriptors = readdirSync(`/proc/${pid}/fd`).map((name) => readlinkSync(`/proc/${pid}/fd/${name}`))
  const own = descriptors.flatMap((target) => /^socket:\[(\d+)\]$/.exec(target)?.[1] ?? [])
  const ofNetwork = ['tcp', 'tcp6', 'udp', 'udp6'].flatMap((kind) =>
    readFileSync(`/proc/${pid}/net/${kind}`, 'utf8')
      .split('\n')
      .map((line) => line.trim().split(/\s+/)[9]),
  )
  expect(own.filter((inode) => ofNetwork.includes(inode))).toEqual([])
})

test('closing an engine leaves no process behind', async () => {
  const brief = await open()
  const { pid = 0 } = brief
  expect(alive(pid)).toBe(true)
  await brief[Symbol.asyncDispose]()
  expect(alive(pid)).toBe(false)
})

test('an engine process does not outlive a worker that was killed', async () => {
  const program = path.join(folder.path, 'worker.ts')
  const from = (file: string) => JSON.stringify(path.join(import.meta.dirname, file))
  const model = JSON.stringify(file)
  writeFileSync(
    program,
    `import { systemRuntime as runtime } from ${from('../../runtime/index.ts')}
     import { openLlamaEngine } from ${from('open-llama-engine.ts')}
     const log = { info() {}, warn() {} }
     const engine = await openLlamaEngine({ models: [{ path: ${model} }], threads: 1, runtime, log })
     console.log(engine.pid)`,
  )
  const worker = spawn(process.execPath, ['-C', 'lichen-source', program], { stdio: ['ignore', 'pipe', 'inherit'] })
  const pid = await new Promise<number>((resolve) => worker.stdout.once('data', (text) => resolve(Number(text))))
  expect(alive(pid)).toBe(true)
  worker.kill('SIGKILL')
  await expect.poll(() => alive(pid), { timeout: 10_000 }).toBe(false)
})

test('an engine process that hangs is replaced', async () => {
  const runtime = simulatedRuntime()
  await using stuck = await open({ runtime })
  const { pid = 0 } = stuck
  const client = new AbortController()
  const sink = {
    tokens: () => {
      process.kill(pid, 'SIGSTOP')
      client.abort(new Error('the client went away'))
    },
    delta() {},
    vector() {},
  }
  await expect(stuck.run(task({ ...noEnd }, { maxTokens: 2000 }), sink, client.signal)).rejects.toThrow('went away')
  expect(alive(pid)).toBe(true)
  runtime.advance(engineLimits.cancelMsMax)
  await expect.poll(() => stuck.offers.length, { timeout: 10_000 }).toBe(0)
  runtime.advance(engineLimits.restartMsMin)
  await expect.poll(() => stuck.offers.length, { timeout: 20_000 }).toBe(1)
  expect((await run(task({ ...noEnd }), stuck)).ids.length).toBe(60)
})

test('a file that is no model, or is not there, is refused by name', async () => {
  const broken = path.join(folder.path, 'broken.gguf')
  const whole = readFileSync(file)
  for (const bytes of [
    Buffer.from('GGUF but not really'),
    Buffer.from('PK'),
    whole.subarray(0, 3_000),
    whole.subarray(0, -500),
  ]) {
    writeFileSync(broken, bytes)
    const failure = await open({ models: [{ path: broken }] }).catch((error: unknown) => error)
    expect(failure).toMatchObject({ code: 'model_unreadable' })
    expect((failure as Error).message).toContain('broken.gguf')
  }
  rmSync(broken)
  await expect(open({ models: [{ path: `${folder.path}/absent.gguf` }] })).rejects.toMatchObject({
    code: 'model_unreadable',
  })
})
