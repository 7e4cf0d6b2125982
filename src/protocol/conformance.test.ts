import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { protocolOps } from './conformance.ts'

const vectors = new URL('../../spec/vectors/', import.meta.url)
const read = (file: string) => readFileSync(new URL(file, vectors))
const list = (file: string) => JSON.parse(read(file).toString()) as Record<string, unknown>[]

function ask(op: string, input: unknown) {
  const operation = protocolOps[op]
  if (!operation) throw new Error(`no operation ${op}`)
  return operation(input)
}

describe('the operations answer every vector', () => {
  test.each(list('ed25519/accept-key.json'))('ed25519.acceptKey: $comment', ({ public_key, ok, reason }) => {
    const expected = ok ? { ok, output: { accepted: true } } : { ok, error: { code: reason } }
    expect(ask('ed25519.acceptKey', { public_key })).toMatchObject(expected)
  })

  test.each(list('ed25519/verify.json'))('ed25519.verify: $comment', ({ ok, reason, comment: _, ...input }) => {
    const expected = ok ? { ok, output: { valid: true } } : { ok, error: { code: reason } }
    expect(ask('ed25519.verify', input)).toMatchObject(expected)
  })

  test.each(list('json/parse.json'))('json.parse: $comment', ({ bytes, ok, code }) => {
    expect(ask('json.parse', { bytes })).toMatchObject(ok ? { ok } : { ok, error: { code } })
  })

  test.each(readdirSync(new URL('jcs/input/', vectors)))('jcs.canonicalize: %s', (file) => {
    const bytes = read(`jcs/input/${file}`).toString('base64')
    const output = { bytes: read(`jcs/output/${file}`).toString('base64') }
    expect(ask('jcs.canonicalize', { bytes })).toEqual({ ok: true, output })
  })
})

const wrong: [string, string, unknown][] = [
  ['no input', 'json.parse', undefined],
  ['an unknown field', 'json.parse', { bytes: '', more: 1 }],
  ['characters outside base64', 'jcs.canonicalize', { bytes: 'e30*' }],
  ['half a byte of hex', 'ed25519.acceptKey', { public_key: 'abc' }],
  ['a missing field', 'ed25519.verify', { public_key: '', message: '' }],
]

test.each(wrong)('%s is answered with invalid_input', (_, op, input) => {
  expect(ask(op, input)).toMatchObject({ ok: false, error: { code: 'invalid_input' } })
})

test('canonical JSON is only made of text the strict parser accepts', () => {
  const bytes = Buffer.from('{"a":1,"a":2}').toString('base64')
  expect(ask('jcs.canonicalize', { bytes })).toMatchObject({ ok: false, error: { code: 'duplicate_key' } })
})
