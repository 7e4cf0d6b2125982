import { expect, test } from 'vitest'
import { generateIdentity, leafHash } from '#crypto'
import { encodeSigned, type PoolId, receiptLeafData } from '#protocol'
import { systemRuntime } from '#runtime'
import { bob, pool, sampleParts, sampleReceipt, sampleTime, signAlone } from '../../testkit/receipt-sample.ts'
import { signFact } from './fact.ts'
import { judgeSlash } from './judge-slash.ts'

const stranger = generateIdentity(systemRuntime)

/** A receipt with the pool's word that a check ended so. */
function receiptWith(outcome: 'hit' | 'clean', signer = pool): Buffer {
  const parts = sampleParts()
  const verdict = signAlone(signer, 'verdict/1', {
    job: '018bcfe5-6800-7000-8000-000000000001',
    receipt: leafHash(receiptLeafData(parts.workers, parts.statement)),
    check: 'c1',
    reason: 'sampled',
    verifier: null,
    outcome,
    score: '9.5',
    epoch: Math.floor(sampleTime / 3_600_000),
    at: sampleTime + 5_000,
  })
  return sampleReceipt({ extra: { verdicts: [encodeSigned(verdict)] } })
}

const slash = (value: Buffer, author = pool, name: string = bob.id) =>
  signFact(
    {
      author: author.id as PoolId,
      generation: 1,
      kind: 'slash',
      name,
      value,
      ms: 1,
      count: 0,
      prev: null,
      expires: null,
    },
    author,
  )

test('a slash holds by a receipt that verifies, with a hit in it, and the worker’s own signature', () => {
  expect(judgeSlash(slash(receiptWith('hit')))).toEqual({ holds: true, job: '018bcfe5-6800-7000-8000-000000000001' })
})

test('without any of these it is a word and no more', () => {
  const hit = receiptWith('hit')
  const cut = Buffer.from(hit.toString().replace('"usage"', '"usagf"'))
  for (const [fact, why] of [
    [slash(receiptWith('clean')), 'no verdict'],
    [slash(sampleReceipt()), 'no verdict'],
    [slash(receiptWith('hit', stranger)), 'not signed by the pool'],
    [slash(hit, stranger), 'not of the pool'],
    [slash(hit, pool, stranger.id), 'has signed nothing'],
    [slash(cut), ''],
    [slash(Buffer.from('{}')), ''],
  ] as const)
    expect(judgeSlash(fact)).toEqual({ holds: false, why: expect.stringContaining(why) })
})
