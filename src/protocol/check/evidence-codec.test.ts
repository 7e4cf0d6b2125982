import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { sampleEvidence, samplePosition } from '../../testkit/sample-evidence.ts'
import { protocolLimits } from '../limits.ts'
import { commitmentOf } from './commitment.ts'
import type { Evidence } from './evidence.ts'
import { decodeEvidence, encodeEvidence, evidenceBytesOf } from './evidence-codec.ts'

const file = path.join(import.meta.dirname, '../../../spec/vectors/worker-messages/evidence.json')
const samples: Record<string, Evidence> = {
  'an answer that ended by itself': sampleEvidence(),
  'an isolated replay': sampleEvidence(2, { logitsHash: 'ab'.repeat(32) }),
  'nothing but an end': sampleEvidence(0),
  'stopped by a stop string, with wrong pieces': sampleEvidence(3, {
    ending: { shown: 'stop_string', end: undefined },
    wrongPieces: [0, 2],
  }),
  'some positions of a longer answer, cut at a token nobody has': sampleEvidence(40, {
    positions: [3, 17, 39].map(samplePosition),
    ending: { shown: 'nothing', end: undefined },
    unknownAt: 40,
  }),
  'a server that shows no logits': sampleEvidence(1, { method: 'prefix', ending: { shown: 'length', end: undefined } }),
}
const check = '018bcfe5-6800-4000-8000-000000000001'
const [worker, nonce] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)]

test('the published vectors are what we write, evidence and commitment', async () => {
  const vectors = Object.entries(samples).map(([name, said]) => {
    const evidence = encodeEvidence(said)
    const commitment = commitmentOf({ check, worker, nonce, evidence })
    return { name, said, evidence: evidence.toString('hex'), commitment: commitment.toString('hex') }
  })
  const about = 'Evidence of a check (spec/worker.md section 8) and the commitment to it.'
  const binding = { check, worker: worker.toString('hex'), nonce: nonce.toString('hex') }
  await expect(`${JSON.stringify({ about, ...binding, vectors }, undefined, 1)}\n`).toMatchFileSnapshot(file)
})

describe.each(Object.entries(samples))('evidence of %s', (_, evidence) => {
  const bytes = encodeEvidence(evidence)

  test('comes back as it was', () => {
    expect(decodeEvidence(bytes)).toEqual(evidence)
    expect(bytes.length).toBeLessThanOrEqual(evidenceBytesOf(evidence.positions.length, 2))
  })

  test('is refused when it is cut anywhere, or one byte longer', () => {
    for (let n = 0; n < bytes.length; n++) expect(decodeEvidence(bytes.subarray(0, n))).toBeUndefined()
    expect(decodeEvidence(Buffer.concat([bytes, Buffer.of(0)]))).toBeUndefined()
  })

  test('has one form: whatever bytes are read say something else', () => {
    for (let n = 0; n < bytes.length * 8; n++) {
      const changed = Buffer.from(bytes)
      changed[n >> 3] = (changed[n >> 3] ?? 0) ^ (1 << (n & 7))
      const read = decodeEvidence(changed)
      if (read) expect(encodeEvidence(read)).toEqual(changed)
    }
  })
})

const end = sampleEvidence(3).ending
const lies: Record<string, Partial<Evidence>> = {
  'positions in no order': { positions: [1, 0].map(samplePosition) },
  'one position twice': { positions: [1, 1].map(samplePosition) },
  'a position behind the answer': { positions: [3].map(samplePosition) },
  'an end elsewhere': { ending: { shown: 'nothing', end: samplePosition(4) } },
  'an end token behind a stop string': { ending: { shown: 'stop_string', end: end.end } },
  'a margin below zero': { positions: [{ ...samplePosition(0), margin: -1 }] },
  'a margin that is no number': { positions: [{ ...samplePosition(0), margin: Number.NaN }] },
  'a logit above the largest': { positions: [{ ...samplePosition(0), chosen: { id: 1, logit: 1, noise: 0 } }] },
  'noise without end': { positions: [{ ...samplePosition(0), choice: { id: 1, logit: 0, noise: Infinity } }] },
  'more tokens than are listed': {
    positions: [{ ...samplePosition(0), top: Array(65).fill({ id: 1, logit: 0 }) }],
  },
}

test.each(Object.entries(lies))('evidence with %s is none', (_, lie) => {
  expect(decodeEvidence(encodeEvidence(sampleEvidence(3, lie)))).toBeUndefined()
})

test('evidence about as much as may be asked fits, and more wrong pieces than that are left out', () => {
  const wrongPieces = Array.from({ length: 5_000 }, (_, n) => n)
  const full = encodeEvidence(sampleEvidence(protocolLimits.checkPositionsMax, { wrongPieces }))
  expect(full.length).toBeLessThanOrEqual(evidenceBytesOf(protocolLimits.checkPositionsMax, 2))
  expect(decodeEvidence(full)?.wrongPieces).toHaveLength(protocolLimits.wrongPiecesMax)
  expect(decodeEvidence(Buffer.alloc(protocolLimits.evidenceBytesMax + 1, 1))).toBeUndefined()
})

test('a commitment is to one check, by one worker, to one evidence', () => {
  const evidence = encodeEvidence(sampleEvidence())
  const opening = { check, worker, nonce, evidence }
  const others = [
    { ...opening, check: check.replace(/1$/, '2') },
    { ...opening, worker: nonce },
    { ...opening, nonce: worker },
    { ...opening, evidence: encodeEvidence(sampleEvidence(2)) },
  ]
  expect(new Set([opening, ...others].map((one) => commitmentOf(one).toString('hex'))).size).toBe(5)
  expect(readFileSync(file, 'utf8')).toContain(commitmentOf(opening).toString('hex'))
})
