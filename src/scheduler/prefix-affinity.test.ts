import { expect, test } from 'vitest'
import { prefixKeys } from './prefix-affinity.ts'

const turn = ['system: be kind', 'user: hello', 'assistant: hi', 'user: and now?']

test('the next turn of a conversation is recognised by what the turn before sent', () => {
  const before = prefixKeys('key', turn.slice(0, 2))
  expect(prefixKeys('key', turn)).toContain(before[0])
})

test('two conversations under one system prompt are two conversations', () => {
  const one = prefixKeys('key', turn)
  const other = prefixKeys('key', ['system: be kind', 'user: something else', 'assistant: yes', 'user: ok'])
  expect(one.filter((prefix) => other.includes(prefix))).toEqual([])
})

test('another API key never meets these prefixes', () => {
  const mine = prefixKeys('mine', turn)
  expect(prefixKeys('yours', turn).some((prefix) => mine.includes(prefix))).toBe(false)
})

test('moving a letter from one message to the next makes another conversation', () => {
  expect(prefixKeys('key', ['ab', 'c'])[0]).not.toBe(prefixKeys('key', ['a', 'bc'])[0])
})

test('a huge prompt is hashed only up to the limit, and no prompt has no prefix', () => {
  expect(prefixKeys('key', ['x'.repeat(4 * 2 ** 20)])).toHaveLength(1)
  expect(prefixKeys('key', [])).toEqual([])
})
