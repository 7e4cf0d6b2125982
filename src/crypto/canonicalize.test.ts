import { readdirSync, readFileSync } from 'node:fs'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { canonicalize } from './canonicalize.ts'

const vectors = new URL('../../spec/vectors/jcs/', import.meta.url)
const read = (file: string) => readFileSync(new URL(file, vectors))

test.each(readdirSync(new URL('input/', vectors)))('the published case %s comes out byte for byte', (file) => {
  const canonical = canonicalize(JSON.parse(read(`input/${file}`).toString()))
  expect(canonical).toEqual(read(`output/${file}`))
  const listed = read(`outhex/${file.replace('.json', '.txt')}`)
    .toString()
    .replace(/\s/g, '')
  expect(canonical.toString('hex')).toBe(listed)
})

const numbers: { ieee754: string; text: string | null }[] = JSON.parse(read('numbers.json').toString())

test.each(numbers)('the number $ieee754 of RFC 8785 Appendix B is written $text', ({ ieee754, text }) => {
  const value = Buffer.from(ieee754, 'hex').readDoubleBE()
  if (text === null) expect(() => canonicalize(value)).toThrow(TypeError)
  else expect(canonicalize(value).toString()).toBe(text)
})

test('one value has one text, whatever the order of its members', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const once = canonicalize(value)
      expect(canonicalize(JSON.parse(once.toString()))).toEqual(once)
      expect(canonicalize(reversed(value))).toEqual(once)
    }),
  )
})

function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([name, member]) => [name, reversed(member)]),
  )
}

const circle: unknown[] = []
circle.push(circle)
const noJson: [string, unknown][] = [
  ['NaN', Number.NaN],
  ['infinity', Number.NEGATIVE_INFINITY],
  ['half a surrogate pair', ['\ud800']],
  ['half a surrogate pair in a name', { '\udc00': 1 }],
  ['undefined', { a: undefined }],
  ['a hole in an array', new Array(1)],
  ['a function', [() => 1]],
  ['a bigint', 1n],
  ['a date', new Date(0)],
  ['a value that contains itself', circle],
]

test.each(noJson)('%s has no JSON form and is refused', (_, value) => {
  expect(() => canonicalize(value)).toThrow(TypeError)
})

test('a member named __proto__ is a member', () => {
  expect(canonicalize(JSON.parse('{"__proto__":1,"a":2}')).toString()).toBe('{"__proto__":1,"a":2}')
})
