import { expect, test } from 'vitest'
import { mergeDelta } from './merge-delta.ts'

const merged = (...deltas: Record<string, unknown>[]) => deltas.reduce((into, delta) => mergeDelta(into, delta), {})

test('strings continue, and null takes nothing back', () => {
  expect(merged({ reasoning_content: 'Let ' }, { reasoning_content: 'me' }, { reasoning_content: null })).toEqual({
    reasoning_content: 'Let me',
  })
})

test('tool calls meet by their index, in whatever order they come', () => {
  const call = (index: number, more: object) => ({ tool_calls: [{ index, ...more }] })
  const result = merged(
    call(1, { id: 'b', type: 'function', function: { name: 'go', arguments: '{' } }),
    call(0, { id: 'a', type: 'function', function: { name: 'look', arguments: '' } }),
    call(1, { id: 'b', type: 'function', function: { arguments: '}' } }),
    call(0, { function: { name: 'look', arguments: '{}' } }),
  )
  expect(result).toEqual({
    tool_calls: [
      { id: 'a', type: 'function', function: { name: 'look', arguments: '{}' } },
      { id: 'b', type: 'function', function: { name: 'go', arguments: '{}' } },
    ],
  })
})

test('a hostile key is a key like any other', () => {
  const result = merged(JSON.parse('{"__proto__":{"polluted":1}}'), JSON.parse('{"__proto__":{"more":2}}'))
  expect(({} as { polluted?: number }).polluted).toBeUndefined()
  expect(Object.keys(result)).toEqual(['__proto__'])
})

test('nonsense from an upstream does no harm', () => {
  expect(merged({ tool_calls: 'x' }, { tool_calls: [null, 7, {}] }, { a: 1 }, { a: [2] })).toEqual({
    tool_calls: [{}],
    a: [2],
  })
})
