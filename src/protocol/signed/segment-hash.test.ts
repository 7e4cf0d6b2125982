import { readFileSync } from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { sha256 } from '#crypto'
import { TokenBatch } from '../token-batch.ts'
import { bodyCommitment } from './body-commitment.ts'
import { SegmentHash } from './segment-hash.ts'

type Piece = { id: number; piece: string } | { json: string } | { index: number; values: string }
const file = path.resolve(import.meta.dirname, '../../../spec/vectors/worker-messages/segments.json')
const { cases } = JSON.parse(readFileSync(file, 'utf8')) as { cases: { name: string; pieces: Piece[]; sent: string }[] }

function add(hash: SegmentHash, piece: Piece): void {
  if ('json' in piece) hash.addDelta(JSON.parse(piece.json))
  else if ('index' in piece) hash.addVector(piece.index, Buffer.from(piece.values, 'hex'))
  else hash.add(TokenBatch.of([{ id: piece.id, piece: Buffer.from(piece.piece, 'hex') }]))
}

test.each(cases)('what a worker sent is hashed as the vectors say: $name', ({ pieces, sent }) => {
  const hash = new SegmentHash()
  for (const piece of pieces) add(hash, piece)
  expect([hash.pieces, hash.digest().toString('hex')]).toEqual([pieces.length, sent])
})

test('no two of them are the same, although they say the same', () => {
  expect(new Set(cases.map(({ sent }) => sent)).size).toBe(cases.length)
})

const token = fc.record({
  id: fc.integer({ min: 0, max: 0xffff_fffd }),
  piece: fc.uint8Array({ maxLength: 3_000 }).map((bytes) => Buffer.from(bytes)),
})

test('pool and worker come to the same however the pieces arrive, and whoever goes on from there changes nothing behind', () => {
  fc.assert(
    fc.property(fc.array(token, { maxLength: 60 }), fc.array(fc.nat(60)), (tokens, cuts) => {
      const whole = TokenBatch.of(tokens)
      const [one, other] = [new SegmentHash(), new SegmentHash()]
      one.add(whole)
      let from = 0
      for (const to of [...cuts.filter((cut) => cut < tokens.length).toSorted((a, b) => a - b), tokens.length]) {
        other.add(TokenBatch.of(tokens.slice(from, to)))
        from = to
      }
      const before = other.digest()
      const copy = other.clone()
      copy.addDelta({ a: 1 })
      expect(before).toEqual(sha256(Buffer.concat([Buffer.from('lichen/segment/1\n'), whole.bytes])))
      expect([one.digest(), other.digest(), other.pieces]).toEqual([before, before, tokens.length])
      expect(copy.digest()).not.toEqual(before)
    }),
  )
})

test('the commitment opens with the salt and the exact body only', () => {
  const commitment = bodyCommitment(Buffer.alloc(32, 1), Buffer.from('{}'))
  expect(commitment).toEqual(sha256(Buffer.from(`lichen/body/1\n${'\u0001'.repeat(32)}{}`)))
  expect(bodyCommitment(Buffer.alloc(32, 1), Buffer.from('{} '))).not.toEqual(commitment)
})
