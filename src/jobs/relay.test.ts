import { expect, test } from 'vitest'
import { noTokenId, type Token, TokenBatch } from '#protocol'
import { Relay } from './relay.ts'

const token = (text: string | Buffer, id = 1, logprob?: number): Token => ({
  id,
  piece: Buffer.from(text),
  ...(logprob === undefined ? {} : { logprob }),
})

const take = (relay: Relay, tokens: readonly Token[]) => relay.take(TokenBatch.of(tokens))

test('text comes out as soon as it is certain, and the ids are kept for whoever continues', () => {
  const relay = new Relay([], 100)
  expect(take(relay, [token('mo', 7), token('ss', 8)])?.text).toBe('moss')
  expect([relay.ids, relay.pieces, relay.hasIds]).toEqual([[7, 8], 2, true])
})

test('the answer ends before its stop string, whatever comes after', () => {
  const relay = new Relay(['END'], 100)
  const texts = ['one ', 'E', 'ND', ' two'].map((text) => take(relay, [token(text)])?.text)
  expect([texts, relay.stopped, relay.pieces, relay.finish()]).toEqual([
    ['one ', undefined, undefined, undefined],
    true,
    3,
    undefined,
  ])
})

test('what was held back is shown when the tokens end', () => {
  const relay = new Relay(['END'], 100)
  take(relay, [token('E'), token('N')])
  expect(relay.finish()?.text).toBe('EN')
})

test('pieces beyond max_tokens are neither shown nor counted', () => {
  const relay = new Relay([], 2)
  expect(take(relay, [token('a'), token('b'), token('c')])?.text).toBe('ab')
  expect([relay.pieces, relay.full, take(relay, [token('d')])]).toEqual([2, true, undefined])
})

test('a second worker continues in the middle of a letter', () => {
  const relay = new Relay([], 100)
  const euro = Buffer.from('€')
  expect(take(relay, [token(euro.subarray(0, 2))])).toBeUndefined()
  expect(take(relay, [token(euro.subarray(2))])?.text).toBe('€')
})

test('log probabilities come with the text they belong to', () => {
  const relay = new Relay(['stop'], 100)
  const pieces = ['a', 's', 't', 'b']
  const shown = pieces.map((text) => take(relay, [token(text, 1, -1)]))
  expect(shown.map((one) => one && [one.text, one.tokens.map((t) => t.piece.toString())])).toEqual([
    ['a', ['a']],
    undefined,
    undefined,
    ['stb', ['s', 't', 'b']],
  ])
})

test('log probabilities of a stop string are cut off with it', () => {
  const relay = new Relay(['stop'], 100)
  const shown = ['x', 'st', 'op', 'y'].map((text) => take(relay, [token(text, 1, -1)])?.tokens.length)
  expect([shown, relay.finish()]).toEqual([[1, undefined, undefined, undefined], undefined])
})

test('log probabilities of a token without text are not lost', () => {
  const relay = new Relay([], 100)
  take(relay, [token('', 5, -1)])
  expect(relay.finish()).toMatchObject({ text: '', tokens: [{ id: 5 }] })
})

test('nobody can continue from pieces without token ids', () => {
  const relay = new Relay([], 100)
  take(relay, [token('a'), token('b', noTokenId)])
  expect(relay.hasIds).toBe(false)
})
