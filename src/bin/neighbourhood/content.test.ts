import { afterAll, beforeAll, expect, test } from 'vitest'
import { findCanary, Neighbourhood } from '#testkit'

const town = new Neighbourhood()
const canary = 'kanarienvogel-4711-xyzzy'

beforeAll(() => town.start('up', ['--log-level', 'trace']))
afterAll(() => town[Symbol.asyncDispose]())

test('what people ask and are told is nowhere on disk and in no log, even with every log line on', async () => {
  const client = town.client()
  const ask = (extra: object) =>
    client.chat.completions.create({
      model: 'lichen-demo',
      messages: [{ role: 'user', content: `${canary} tell me about lichen` }],
      ...extra,
    } as never)
  const answer = (await ask({ temperature: 0, max_tokens: 40 })) as { choices: { message: { content: string } }[] }
  await ask({ max_tokens: 5, n: 2 })
  // A request that waits, one that is refused, one that is repeated: each passes other code.
  await Promise.all(Array.from({ length: 24 }, () => ask({ max_tokens: 20 })))
  await ask({ temperature: 'canary' }).catch(() => undefined)
  await client.chat.completions.create(
    { model: 'lichen-demo', messages: [{ role: 'user', content: canary }], max_tokens: 5 },
    { headers: { 'idempotency-key': 'canary-1' } },
  )
  const metrics = await (await fetch(`${town.url}/metrics`)).text()
  expect(metrics).not.toContain(canary)

  const reply = answer.choices[0]?.message.content.slice(0, 24) ?? ''
  expect(reply.length).toBeGreaterThan(10)
  await town.pool?.stop()
  for (const text of [canary, reply, town.apiKey]) {
    expect(town.pool?.stderr).not.toContain(text)
  }
  expect(await findCanary(town.dataDir, canary)).toEqual([])
  expect(await findCanary(town.dataDir, reply)).toEqual([])
})

test('the canary would be found: a file that holds it is named', async () => {
  const { writeFileSync } = await import('node:fs')
  writeFileSync(`${town.folder}/planted`, `....${canary}....`)
  expect(await findCanary(town.folder, canary)).toHaveLength(1)
})
