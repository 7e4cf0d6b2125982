import { expect, test } from 'vitest'
import { GrammarReader } from './grammar-nodes.ts'
import { GrammarWidth, TooWide } from './grammar-width.ts'
import { jsonGrammar } from './json-grammar.ts'

const widthOf = (rules: Record<string, string>, most = 1_000, steps = 10_000) =>
  new GrammarWidth(new GrammarReader(new Map(Object.entries(rules))), most, steps).of('root')

test.each<[string, Record<string, string>, number]>([
  ['one text', { root: '"abc"' }, 1],
  ['texts that differ at once', { root: '"a" | "b" | "c"' }, 3],
  ['texts that differ at their end', { root: '"xa" | "xb" | "xc"' }, 3],
  ['a loop and what follows', { root: '[a-z]* "."' }, 1],
  ['two loops over the same letters', { root: '[a-z]* "1" | [a-y]* "2"' }, 4],
  ['the same rule before different ends', { root: 'word "1" | word "2"', word: '"a" | "b"' }, 4],
  ['the same text at two places', { root: '"a" "b" | "a" "b"' }, 2],
  ['a tree', { root: '"(" root* ")"' }, 1],
])('a grammar of %s has its width', (_, rules, width) => {
  expect(widthOf(rules)).toBe(width)
})

test.each<[string, Record<string, string>]>([
  ['doubles its readings with every bracket', { root: '"(" root "1" | "(" root "2" | "0"' }],
  ['does so by two copies of the same text', { root: '"(" root "1" | "(" root "1" | "0"' }],
  ['does so by a detour', { root: '"(" a "1" | "(" b "2" | "0"', a: '"[" root "]"', b: '"[" root "]"' }],
  ['begins with itself', { root: '"a" | x "b"', x: 'root | "c"' }],
])('a grammar that %s is refused', (_, rules) => {
  expect(() => widthOf(rules)).toThrow(TooWide)
})

test('a grammar that takes long to measure is refused unmeasured', () => {
  const letters = { root: '[a-z]{0,500} "1" | [a-y]{0,499} "2"' }
  expect(() => widthOf(letters, 1_000, 1_000)).toThrow(TooWide)
  expect(widthOf(letters, 1_000, 100_000)).toBeLessThan(10)
})

const ref = (to: string) => ({ $ref: `#/$defs/${to}` })
const operation = (op: string) => ({
  type: 'object',
  properties: { op: { const: op }, left: ref('e'), right: ref('e') },
  required: ['op', 'left', 'right'],
})
const members = (n: number) =>
  Object.fromEntries(Array.from({ length: n }, (_, i) => [`member${i}`, { type: 'string' }]))

test.each<[string, unknown]>([
  [
    'expressions that name their operation first',
    {
      $defs: { e: { anyOf: [operation('add'), operation('mul'), { type: 'number' }] } },
      ...ref('e'),
    },
  ],
  [
    'nested lists of numbers',
    {
      $defs: { t: { anyOf: [{ type: 'number' }, { type: 'array', items: ref('t') }] } },
      ...ref('t'),
    },
  ],
  [
    'fifty kinds of objects',
    {
      anyOf: Array.from({ length: 50 }, (_, i) => ({
        type: 'object',
        properties: { kind: { const: `kind ${i}` }, note: { type: 'string' } },
        required: ['kind', 'note'],
      })),
    },
  ],
  ['a hundred optional members', { type: 'object', properties: members(100) }],
  ['eight hundred required ones', { type: 'object', properties: members(800), required: Object.keys(members(800)) }],
  [
    'two objects with the same first member',
    {
      anyOf: [
        { properties: { a: { type: 'string' }, b: { type: 'integer' } }, required: ['a', 'b'] },
        { properties: { a: { type: 'string' }, c: { type: 'integer' } }, required: ['a'] },
      ],
    },
  ],
])('a schema may have %s', (_, schema) => {
  expect(jsonGrammar(schema)).toContain('root ::= ')
})

const tuple = (...items: unknown[]) => ({ type: 'array', prefixItems: items, items: false })

test.each<[string, unknown, RegExp]>([
  [
    'lists that only their last item tells apart, within each other',
    {
      $defs: { a: { anyOf: [tuple(ref('a'), { const: 1 }), tuple(ref('a'), { const: 2 }), { type: 'null' }] } },
      ...ref('a'),
    },
    /begin alike/,
  ],
  ['more optional members than can be told apart at once', { type: 'object', properties: members(400) }, /begin alike/],
  [
    'a million counted characters',
    tuple(...Array(1_000).fill({ type: 'string', maxLength: 1_000 })),
    /counts too many/,
  ],
  [
    'a chain of thousands of references',
    {
      $defs: Object.fromEntries(Array.from({ length: 3_900 }, (_, i) => [`a${i}`, i < 3_899 ? ref(`a${i + 1}`) : {}])),
      ...ref('a0'),
    },
    /chain/,
  ],
])('a schema may not have %s', (_, schema, why) => {
  expect(() => jsonGrammar(schema)).toThrow(why)
})
