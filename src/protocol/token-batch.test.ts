import fc from 'fast-check'
import { expect, test } from 'vitest'
import { TextAssembler } from './text-assembler.ts'
import { noTextId, TokenBatch } from './token-batch.ts'

const token = fc.record({
  id: fc.integer({ min: 0, max: 0xffff_ffff }).filter((id) => id !== noTextId),
  piece: fc.uint8Array({ maxLength: 9 }).map((bytes) => Buffer.from(bytes)),
})

test('tokens are counted, cut and read one by one from the bytes they travelled in', () => {
  fc.assert(
    fc.property(fc.array(token), fc.nat(12), (tokens, n) => {
      const batch = TokenBatch.read(TokenBatch.of(tokens).bytes, tokens.length)
      if (!batch) throw new Error('what was written is read')
      const ids: number[] = [7]
      batch.pushIds(ids)
      expect([batch.length, [...batch], ids]).toEqual([tokens.length, tokens, [7, ...tokens.map(({ id }) => id)]])
      expect(batch.text()).toEqual(Buffer.concat(tokens.map(({ piece }) => piece)))
      expect(batch.pieceBytes).toBe(batch.text().length)
      expect([...batch.first(n)]).toEqual(tokens.slice(0, n))
    }),
  )
})

test('log probabilities stay with their tokens', () => {
  const tokens = [-1, -2, -3].map((logprob, id) => ({ id, piece: Buffer.from('a'), logprob }))
  expect([...TokenBatch.of(tokens).first(2)]).toEqual(tokens.slice(0, 2))
})

test('bytes that are cut short, go on behind the last token, or hold more tokens than allowed are none', () => {
  const { bytes } = TokenBatch.of([1, 2].map((id) => ({ id, piece: Buffer.from('abc') })))
  expect(TokenBatch.read(bytes, 2)?.length).toBe(2)
  expect(TokenBatch.read(bytes, 1)).toBeUndefined()
  for (let cut = 1; cut < bytes.length; cut++) {
    if (cut !== bytes.length / 2) expect(TokenBatch.read(bytes.subarray(0, cut), 2)).toBeUndefined()
  }
  expect(TokenBatch.read(Buffer.concat([bytes, Buffer.of(0)]), 9)).toBeUndefined()
})

test('a piece longer than its length can say is not written', () => {
  expect(() => TokenBatch.of([{ id: 1, piece: Buffer.alloc(65_536) }])).toThrow(RangeError)
})

test('the text of any bytes is the same, pushed piece by piece or at once', () => {
  const odd = fc.constantFrom(0x41, 0x80, 0xbf, 0xc3, 0xe2, 0x82, 0xac, 0xed, 0xa0, 0xf0, 0x9f, 0x90, 0xf4, 0xff)
  const pieces = fc.array(
    fc.array(odd, { maxLength: 4 }).map((bytes) => Buffer.from(bytes)),
    { maxLength: 12 },
  )
  fc.assert(
    fc.property(pieces, (list) => {
      const [apart, together] = [new TextAssembler(), new TextAssembler()]
      const text = list.map((piece) => apart.push(piece)).join('') + apart.finish()
      expect(together.push(Buffer.concat(list)) + together.finish()).toBe(text)
    }),
    { numRuns: 5_000 },
  )
})
