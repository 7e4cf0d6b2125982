import { afterAll, beforeAll, expect, test } from 'vitest'
import type { AcceptedRequest } from '#jobs'
import { samplingCommitment, verifyReceipt } from '#protocol'
import { testPool } from '#testkit'
import { SmallPool } from '../testkit/small-pool.ts'
import { answersIn, diesAfter, type SmallWorkerOptions } from '../testkit/small-workers.ts'
import { type TestDatabase, testDatabase } from '../testkit/test-database.ts'
import type { GivenAnswers } from '../verification/intake.ts'

let home: TestDatabase
let pool: SmallPool
let unchecked: string | undefined
let isLookedAt = false
let given: GivenAnswers['segments'] = []
const opening = Buffer.alloc(104)
beforeAll(async () => {
  home = await testDatabase()
  // Only what jobs ask of it: what is sampled, and why nothing is.
  const checks = {
    sample: () => ({ opening, commitment: samplingCommitment(opening) }),
    whyUnchecked: () => unchecked,
    settle: ({ segments }: GivenAnswers) => {
      given = segments
      return []
    },
    looksAtUpstream: () => isLookedAt,
    hasOwnFor: () => false,
  }
  pool = await SmallPool.open(home.database, { checks: checks as never })
})
afterAll(async () => {
  await pool[Symbol.asyncDispose]()
  await home.drop()
})

/** What the receipt of one answer says can be shown of it. */
async function told(
  name: string,
  options: SmallWorkerOptions,
  why?: string,
  request: Partial<AcceptedRequest> = {},
): Promise<[string, string | undefined]> {
  const worker = pool.workers.join(name, options)
  unchecked = why
  const client = await pool.ask({ maxTokens: 12, ...request })
  if (name.startsWith('dies')) pool.workers.join(`${name}-next`, { plan: answersIn(6) })
  await client.ended
  const file = await pool.receipt(client)
  worker.die()
  const verdict = verifyReceipt(file, { poolKey: testPool.publicKey })
  expect(verdict.problem).toBeUndefined()
  return [JSON.parse(file.toString()).view.statement.evidence, verdict.lines.find((line) => line.includes('assurance'))]
}

test('a sampled answer of a model file can be compared to within the noise of two machines, and its receipt says so', async () => {
  const [evidence, words] = await told('ann', { plan: answersIn(6) })
  expect(evidence).toBe('margin')
  expect(words).toContain('given sampled, evidence margin (a look can tell another model, an edit or an early end')
})

test('nothing can be shown of an upstream without a model file, of other than plain text, and of what nobody looks at', async () => {
  const upstream = { plan: answersIn(3), offers: [{ digest: null, engine: 'openai' as const }] }
  expect(await told('bob', upstream)).toEqual(['none', 'assurance asked sampled, given sampled, evidence none'])
  isLookedAt = true
  expect((await told('bea', upstream))[0]).toBe('weak')
  expect((await told('ben', upstream, undefined, { isBent: true }))[0]).toBe('none')
  isLookedAt = false
  const calls: SmallWorkerOptions = {
    plan: (run) => {
      run.delta({ tool_calls: [] })
      run.end()
    },
  }
  expect((await told('cid', calls))[0]).toBe('none')
  const alone = await told('dan', { plan: answersIn(3) }, 'no_verifier')
  expect(alone).toEqual(['none', 'assurance asked sampled, given none (no_verifier), evidence none'])
})

test('what only the pool may see is looked at by its own engine, or by nobody: then the receipt says so', async () => {
  expect(await told('eva', { plan: answersIn(3) }, undefined, { privacy: 'single-exposure' })).toEqual([
    'none',
    'assurance asked sampled, given none (single_exposure), evidence none',
  ])
})

test('an answer that was taken over can be shown as well as the weaker of its parts', async () => {
  expect((await told('dies', { plan: diesAfter(2) }))[0]).toBe('margin')
})

test('an embedding is sampled like every answer: whoever is to be looked at is waived on record, not left out', async () => {
  const embeds: SmallWorkerOptions = {
    plan: (run) => {
      run.vector(0, [1, 2])
      run.end('stop', { completionTokens: 0 })
    },
  }
  const request = { kind: 'embedding', needs: ['embedding'], maxTokens: 0, inputs: 1, resumable: false } as const
  expect((await told('fay', embeds, 'not_checkable', request))[0]).toBe('none')
  expect(given.map(({ statement, unfit }) => [statement !== null, unfit])).toEqual([[true, 'not_checkable']])
})
