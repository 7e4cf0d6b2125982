import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeStrict, encode } from './dag-cbor.ts'

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex')

test('a value comes back from its bytes, and its bytes from the value', () => {
  const value = { a: 1, bb: [true, null, 'ü'], c: new Uint8Array([1, 2]), dd: 2n ** 63n - 1n, e: -1 }
  const bytes = encode(value)
  expect(decodeStrict(bytes)).toEqual({ ok: true, value })
})

test('a bigint is written like the number it is', () => {
  expect(encode({ cap: 5n })).toEqual(encode({ cap: 5 }))
  expect(decodeStrict(encode(2n ** 53n))).toEqual({ ok: true, value: 2n ** 53n })
  expect(decodeStrict(encode(BigInt(Number.MAX_SAFE_INTEGER)))).toEqual({ ok: true, value: Number.MAX_SAFE_INTEGER })
})

interface Vector {
  comment: string
  bytes: string
  ok: boolean
  problem?: string
}
const vectors: Vector[] = JSON.parse(
  readFileSync(new URL('../../../spec/vectors/receipts/dag-cbor.json', import.meta.url), 'utf8'),
)

test.each(vectors)('$comment: accepted is $ok', ({ bytes, ok, problem = '' }) => {
  const decoded = decodeStrict(hex(bytes))
  if (decoded.ok) expect(encode(decoded.value)).toEqual(hex(bytes))
  expect(decoded).toMatchObject(ok ? { ok } : { ok, problem: expect.stringContaining(problem) })
})

test('depth and size are bounded before anything recurses', () => {
  expect(decodeStrict(Buffer.alloc(60_000, 0x81))).toMatchObject({ ok: false, problem: 'it is nested deeper than 8' })
  expect(decodeStrict(Buffer.alloc(70_000))).toMatchObject({ ok: false, problem: expect.stringMatching(/larger/) })
  expect(decodeStrict(hex('8181818181818181 01'))).toMatchObject({ ok: true })
  expect(decodeStrict(hex('818181818181818181 01'))).toMatchObject({ ok: false })
})

test.each([
  ['undefined', { a: undefined }],
  ['a fraction', [0.5]],
  ['NaN', [Number.NaN]],
  ['a bigint of 65 bits', 2n ** 64n],
])('nobody signs %s', (_, value) => {
  expect(() => encode(value)).toThrow()
})

test('any bytes are either refused or the only encoding of their value', () => {
  const any = fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes))
  fc.assert(
    fc.property(any, (bytes) => {
      const decoded = decodeStrict(bytes)
      if (decoded.ok) expect(encode(decoded.value)).toEqual(bytes)
    }),
    { numRuns: 5_000 },
  )
})

test('any value made of plain parts survives', () => {
  const leaf = fc.oneof(
    fc.boolean(),
    fc.constant(null),
    fc.maxSafeInteger(),
    fc.string({ unit: 'grapheme' }),
    fc.uint8Array(),
  )
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof(
      { depthSize: 'small', maxDepth: 6 },
      leaf,
      fc.array(tie('tree')),
      fc.dictionary(fc.string({ unit: 'grapheme' }), tie('tree')),
    ),
  }))
  fc.assert(
    fc.property(tree, (value) => {
      const bytes = encode(value)
      const decoded = decodeStrict(bytes)
      expect(decoded.ok && encode(decoded.value).equals(bytes)).toBe(true)
    }),
  )
})
