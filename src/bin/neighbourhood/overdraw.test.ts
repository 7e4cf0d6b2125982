import path from 'node:path'
import OpenAI from 'openai'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { identityFromSeed } from '#crypto'
import { createClient } from '../../client/index.ts'
import { eventually, Neighbourhood } from '../../testkit/neighbourhood.ts'

const town = new Neighbourhood()
const payer = identityFromSeed(Buffer.alloc(32, 0x45))
let key = ''

interface Account {
  account: string
  posted: string
  held: string
}

// biome-ignore lint/suspicious/noExplicitAny: the API's schemas are checked where the API is
async function lichen(...args: string[]): Promise<any> {
  const { code, err, json } = await town.cli(...args, '--json')
  expect([code, err]).toEqual([0, ''])
  return json
}

beforeAll(async () => {
  await town.start('pool')
  await town.join('ann')
  await lichen('users', 'create', 'ada')
  await lichen('users', 'payer-key', 'ada', payer.publicKey.toString('base64url'))
  key = (await lichen('keys', 'create', 'laptop', '--user', 'ada', '--payer-signature', 'required')).key
}, 240_000)
afterAll(() => town[Symbol.asyncDispose](), 60_000)

const grant = async (credits: string) =>
  lichen('grant', 'ada', credits, '--file', (await town.adminKey()).file, '--memo', path.basename(import.meta.filename))
const settled = () =>
  eventually('every hold to be resolved', async () => (await lichen('ledger', 'holds')).data.length === 0)

/** Asks so often at once, every order signed by Ada, and says what became of each. */
async function askAtOnce(times: number, more: object): Promise<string[]> {
  const fetch = createClient({ poolUrl: town.url, apiKey: key, payerKey: payer.seed })
  const openai = new OpenAI({ baseURL: `${town.url}/v1`, apiKey: key, fetch, maxRetries: 0 })
  const request = { model: 'lichen-demo', messages: [{ role: 'user' as const, content: '3+4=?' }], ...more }
  const asked = await Promise.allSettled(
    Array.from({ length: times }, () => openai.chat.completions.create({ ...request, stream: false })),
  )
  return asked.map((one) =>
    one.status === 'fulfilled' ? (one.value.choices[0]?.message.content ?? '') : String(one.reason.code),
  )
}

test('of three hundred signed orders at once exactly the ten are served that their payer has credit for', async () => {
  // what one reserves is what it costs: nothing comes back that another could spend
  await lichen('prices', 'set', 'lichen-demo', '--prompt-token', '0', '--completion-token', '0.0004')
  await eventually('the price to count', async () => {
    const list = await fetch(`${town.url}/v1/prices`, { headers: { authorization: `Bearer ${key}` } })
    return (await list.text()).includes('"prompt_token":"0"')
  })
  await grant('0.004')
  const answers = await askAtOnce(300, { max_tokens: 1 })
  expect(answers.filter((answer) => answer === '7')).toHaveLength(10)
  expect(answers.filter((answer) => answer === 'insufficient_credit')).toHaveLength(290)
  await settled()
  expect(await lichen('ledger', 'balance', 'ada')).toMatchObject({ posted: '0', held: '0', available: '0' })
  await expectCleanBooks()
})

test('where answers cost less than they reserve, what comes back is spent again, and never more than there is', async () => {
  await lichen('prices', 'set', 'lichen-demo', '--prompt-token', '0.0001', '--completion-token', '0.0004')
  await grant('0.1')
  const answers = await askAtOnce(300, { max_tokens: 5 })
  expect(new Set(answers)).toEqual(new Set(['7', 'insufficient_credit']))
  await settled()
  const { posted, held } = await lichen('ledger', 'balance', 'ada')
  const { data } = await lichen('ledger', 'history', 'ada', '--limit', '500')
  const charges = data.filter(({ kind }: { kind: string }) => kind === 'charge')
  const spent = charges.reduce((sum: bigint, { amount }: { amount: string }) => sum - BigInt(amount), 0n)
  expect(spent).toBe(104_000n - BigInt(posted))
  expect(charges).toHaveLength(10 + answers.filter((answer) => answer === '7').length)
  expect([BigInt(posted) >= 0n, held]).toEqual([true, '0'])
  await expectCleanBooks()
})

/** Nothing was made or lost, and the audit finds every row as it was logged. */
async function expectCleanBooks(): Promise<void> {
  const { data } = (await lichen('ledger', 'balance')) as { data: Account[] }
  expect(data.reduce((sum, { posted }) => sum + BigInt(posted), 0n)).toBe(0n)
  expect(data.filter(({ held }) => held !== '0')).toEqual([])
  expect(await lichen('audit')).toMatchObject({ ok: true })
}
