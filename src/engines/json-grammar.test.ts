import fc from 'fast-check'
import { getLlama, type Llama, LlamaLogLevel } from 'node-llama-cpp'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { PoolError } from '#protocol'
import { integerRange } from './integer-range.ts'
import { jsonGrammar } from './json-grammar.ts'

let llama: Llama
beforeAll(async () => {
  llama = await getLlama({ gpu: false, build: 'never', skipDownload: true, logLevel: LlamaLogLevel.disabled })
})
afterAll(() => llama.dispose())

/** llama.cpp's own answer to "does this text follow the grammar, from its first letter to its last?" */
async function follows(grammar: string, text: string): Promise<boolean> {
  // not in the library's types: the native side's own check
  const parsed = (await llama.createGrammar({ grammar })) as unknown as { _testText(text: string): boolean }
  return parsed._testText(text)
}

const cases: readonly { what: string; schema: unknown; yes: readonly string[]; no: readonly string[] }[] = [
  {
    what: 'members in order, those not required left out',
    schema: {
      type: 'object',
      properties: { a: { type: 'boolean' }, b: { type: 'null' }, c: { type: 'string' } },
      required: ['b'],
      additionalProperties: false,
    },
    yes: ['{"b":null}', '{"a":true, "b": null}', '{"b":null,"c":"x"}', '{"a":false,"b":null,"c":"é\\n"}'],
    no: ['{}', '{"a":true}', '{"b":null,"a":true}', '{"b":null,}', '{,"b":null}', '{"b":null,"c":"x"', '{"b":null} '],
  },
  {
    what: 'only optional members',
    schema: { properties: { a: { const: 1 }, b: { const: 2 } } },
    yes: ['{}', '{"a":1}', '{"b":2}', '{"a":1,"b":2}'],
    no: ['{"b":2,"a":1}', '{"a":1,}', '{,}'],
  },
  {
    what: 'a member that is required but not described',
    schema: { type: 'object', properties: { a: { type: 'integer' } }, required: ['a', 'z'] },
    yes: ['{"a":1,"z":[1,{"q":null}]}'],
    no: ['{"a":1}'],
  },
  {
    what: 'names with quotes, backslashes and other scripts',
    schema: { type: 'object', properties: { 'a"\\é雪': { type: 'null' } }, required: ['a"\\é雪'] },
    yes: ['{"a\\"\\\\é雪":null}'],
    no: ['{"a":null}'],
  },
  {
    what: 'a dictionary of numbers',
    schema: { type: 'object', additionalProperties: { type: 'number' } },
    yes: ['{}', '{"x":-1.5e3,"y":0}'],
    no: ['{"x":"1"}', '{"x":01}', '{"x":.5}'],
  },
  {
    what: 'an object that must be empty',
    schema: { type: 'object', additionalProperties: false },
    yes: ['{}'],
    no: ['{"a":1}'],
  },
  {
    what: 'lists with limits',
    schema: { type: 'array', items: { type: 'integer', minimum: 0, maximum: 9 }, minItems: 2, maxItems: 3 },
    yes: ['[1,2]', '[1, 2,3]'],
    no: ['[]', '[1]', '[1,2,3,4]', '[1,10]'],
  },
  {
    what: 'tuples',
    schema: { type: 'array', prefixItems: [{ type: 'string' }, { type: 'boolean' }], items: false },
    yes: ['["a",true]'],
    no: ['["a"]', '["a",true,1]'],
  },
  {
    what: 'a tuple that goes on',
    schema: { type: 'array', prefixItems: [{ const: 'a' }], items: { type: 'null' }, maxItems: 2 },
    yes: ['["a"]', '["a",null]'],
    no: ['[]', '["a",null,null]'],
  },
  {
    what: 'strings with lengths',
    schema: { type: 'string', minLength: 1, maxLength: 3 },
    yes: ['"a"', '"äöü"', '"\\u00e9bc"'],
    no: ['""', '"abcd"', '"\\ud800"', '"a\nb"'],
  },
  {
    what: 'formats',
    schema: { type: 'string', format: 'date-time' },
    yes: ['"2026-11-20T10:00:00Z"', '"2024-02-28T23:59:59.5+01:30"'],
    no: ['"2026-02-30T10:00:00Z"', '"2026-13-01T10:00:00Z"', '"2026-11-20"'],
  },
  {
    what: 'uuids',
    schema: { type: 'string', format: 'uuid' },
    yes: ['"01234567-89ab-cdef-0123-456789abcdef"'],
    no: ['"x"'],
  },
  {
    what: 'addresses',
    schema: { type: 'string', format: 'ipv4' },
    yes: ['"127.0.0.255"'],
    no: ['"256.0.0.1"', '"1.2.3"'],
  },
  {
    what: 'alternatives',
    schema: { anyOf: [{ type: 'null' }, { type: 'string', enum: ['a', 'b', 7] }, { type: ['boolean', 'integer'] }] },
    yes: ['null', '"a"', 'true', '-12'],
    no: ['"c"', '1.5', '"7"'],
  },
  {
    what: 'choices that begin with each other',
    schema: { enum: ['', 'a', 'ab', 'aé', 'a"', 1, 12, 120, true, null, 'a'] },
    yes: ['""', '"a"', '"ab"', '"aé"', '"a\\""', '1', '12', '120', 'true', 'null'],
    no: ['"b"', '"aa"', '"', '2', '122', '0', 't', '"a"b"'],
  },
  {
    what: 'optional members around required ones',
    schema: {
      properties: { a: { const: 1 }, b: { const: 2 }, c: { const: 3 }, d: { const: 4 } },
      required: ['c'],
    },
    yes: ['{"c":3}', '{"a":1,"c":3}', '{"b":2, "c":3}', '{"a":1,"b":2,"c":3,"d":4}', '{"c":3,"d":4}'],
    no: ['{}', '{"a":1}', '{"a":1,"b":2}', '{"c":3,}', '{"d":4}', '{"b":2,"a":1,"c":3}'],
  },
  { what: 'constants of any shape', schema: { const: { a: [1, 'x'] } }, yes: ['{"a":[1,"x"]}'], no: ['{"a":[1]}'] },
  {
    what: 'a schema that contains itself',
    schema: {
      $ref: '#/$defs/tree',
      $defs: {
        tree: {
          type: 'object',
          properties: { left: { anyOf: [{ $ref: '#/$defs/tree' }, { type: 'null' }] }, n: { type: 'integer' } },
          required: ['left', 'n'],
        },
      },
    },
    yes: ['{"left":{"left":null,"n":1},"n":2}'],
    no: ['{"left":1,"n":2}'],
  },
  { what: 'anything', schema: {}, yes: ['{"a":[null,true,-1.5e-3,""]}', '"x"', '0'], no: ['', 'nul', '[1,]'] },
]

test.each(cases)('a grammar keeps $what', async ({ schema, yes, no }) => {
  const grammar = jsonGrammar(schema)
  for (const text of yes) expect(await follows(grammar, text), text).toBe(true)
  for (const text of no) expect(await follows(grammar, text), text).toBe(false)
})

test('json_object means any object and nothing else', async () => {
  const anyObject = jsonGrammar({ type: 'object' })
  expect(await follows(anyObject, '{"a": {"b": [1, 2, {}]}, "c": "d"}')).toBe(true)
  expect(await follows(anyObject, '[1]')).toBe(false)
})

test.each<[unknown, string]>([
  [false, 'nothing is allowed'],
  [{ type: 'strange' }, 'no such type'],
  [{ enum: [] }, 'an empty choice'],
  [{ type: 'string', enum: [1, 2] }, 'a choice of the wrong type'],
  [{ type: 'integer', minimum: 3, maximum: 2 }, 'no integer between'],
  [{ type: 'string', minLength: 3, maxLength: 2 }, 'no length between'],
  [{ type: 'object', required: ['a'], additionalProperties: false }, 'a forbidden member is required'],
  [{ type: 'array', prefixItems: [{}, {}], maxItems: 1 }, 'fewer items than listed'],
  [{ type: 'string', pattern: '^a+$' }, 'a pattern'],
  [{ type: 'string', format: 'hostname' }, 'a format it does not know'],
  [{ type: 'array', uniqueItems: true }, 'items that must differ'],
  [{ not: { type: 'null' } }, 'a negation'],
  [{ allOf: [{ type: 'object' }, { type: 'object' }] }, 'several schemas at once'],
  [{ $ref: 'https://example.com/schema' }, 'a schema elsewhere'],
  [{ $ref: '#/$defs/missing' }, 'a schema that is not there'],
  [{ $ref: '#' }, 'a schema that is only itself'],
  [{ type: 'string', maxLength: 5_000 }, 'more than a grammar can count'],
])('a schema is refused that a grammar cannot keep: %j (%s)', (schema) => {
  expect(() => jsonGrammar(schema)).toThrow(PoolError)
  try {
    jsonGrammar(schema)
  } catch (error) {
    expect(error).toMatchObject({ code: 'invalid_schema', refusal: { param: 'response_format' } })
  }
})

/** The grammar of a range is made of literals, classes, groups and counts: a regular expression in other clothes. */
const asRegExp = (grammar: string) => new RegExp(`^${grammar.replace(/"([^"]*)"|\s+/g, '$1')}$`)

test('an integer range holds exactly its integers', () => {
  const bound = fc.oneof(fc.integer({ min: -2_000, max: 2_000 }), fc.maxSafeInteger())
  fc.assert(
    fc.property(bound, bound, fc.array(bound, { maxLength: 20 }), (a, b, others) => {
      const [low, high] = [Math.min(a, b), Math.max(a, b)]
      const range = asRegExp(integerRange(low, high))
      const numbers = [...others, low, high, low - 1, high + 1, 0, 9, 10, 99, 100, -1, -10]
      for (const n of numbers) expect(range.test(String(n)), `${n} in ${low} … ${high}`).toBe(n >= low && n <= high)
    }),
  )
})

test('a range without an end goes on', () => {
  const [from, to] = [asRegExp(integerRange(5, undefined)), asRegExp(integerRange(undefined, -5))]
  expect(['5', '10', '123456789'].every((text) => from.test(text))).toBe(true)
  expect(['4', '-5', '05'].some((text) => from.test(text))).toBe(false)
  expect(['-5', '-17'].every((text) => to.test(text))).toBe(true)
  expect(['-4', '0', '5'].some((text) => to.test(text))).toBe(false)
})

test('a small schema that nests alternatives into millions of ways is refused at once', () => {
  const $defs: Record<string, unknown> = { a28: { type: 'string' } }
  for (let i = 0; i < 28; i++)
    $defs[`a${i}`] = { anyOf: [{ $ref: `#/$defs/a${i + 1}` }, { $ref: `#/$defs/a${i + 1}` }] }
  expect(() => jsonGrammar({ $ref: '#/$defs/a0', $defs })).toThrow(/begin alike/)
})

test('an enum of a hundred thousand values is refused, one of a thousand is kept', async () => {
  const values = (n: number) => ({ enum: Array.from({ length: n }, (_, i) => `v${i}`) })
  expect(() => jsonGrammar(values(100_000))).toThrow(/1000 values/)
  const thousand = jsonGrammar(values(1_000))
  for (const text of ['"v0"', '"v10"', '"v999"']) expect(await follows(thousand, text), text).toBe(true)
  for (const text of ['"v"', '"v1000"', '"v01"', 'v1']) expect(await follows(thousand, text), text).toBe(false)
})
