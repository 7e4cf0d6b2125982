import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { emptyRoot, identityFromSeed, leafHash } from '#crypto'
import { logOps } from './log-ops.ts'
import {
  formatCheckpoint,
  formatVerifierKey,
  logKeyName,
  logOrigin,
  openCheckpoint,
  openNote,
  parseCheckpoint,
  parseVerifierKey,
  signCheckpoint,
  signNote,
} from './signed-note.ts'

const list = (file: string) =>
  JSON.parse(readFileSync(new URL(`../../spec/vectors/${file}`, import.meta.url), 'utf8')) as Record<string, unknown>[]

interface Published {
  readonly note: string
  readonly vkey: string
  readonly parse: { readonly origin: string; readonly size: string; readonly root: string }
}
// the file holds these two, in this order
const [example, checkpointExample] = list('signed-note/cases.json') as unknown as [Published, Published]

const pool = identityFromSeed(Buffer.alloc(32, 7))
const other = identityFromSeed(Buffer.alloc(32, 8))
const root = leafHash(Buffer.from('a receipt'))
const note = signCheckpoint({ generation: 1, size: 42, root }, pool)

describe('the operations answer every vector', () => {
  test.each(['inclusion', 'consistency'])('merkle.%s', (name) => {
    for (const { comment, ok, code, input } of list(`merkle/${name}.json`)) {
      const expected = ok ? { ok, output: { valid: true } } : { ok, error: { code } }
      expect(logOps[`merkle.${name}`]?.(input), String(comment)).toMatchObject(expected)
    }
  })

  test('note.verify: the example of the format', () => {
    const { note, vkey } = example
    const output = { text: 'This is an example message.\n', name: 'example.com/foo', checkpoint: null }
    expect(logOps['note.verify']?.({ note, vkey })).toEqual({ ok: true, output })
    const changed = note.replace('example message', 'example massage')
    expect(logOps['note.verify']?.({ note: changed, vkey })).toMatchObject({ error: { code: 'bad_signature' } })
    expect(logOps['note.verify']?.({ note, vkey: vkey.replace('53', '54') })).toMatchObject({
      error: { code: 'malformed_vkey' },
    })
  })

  test('note.verify: a checkpoint shows what it says', () => {
    const vkey = formatVerifierKey({ name: logKeyName(pool.id), publicKey: pool.publicKey })
    expect(logOps['note.verify']?.({ note, vkey })).toMatchObject({
      ok: true,
      output: { checkpoint: { origin: `lichen/${pool.id}/1`, size: 42, root: root.toString('base64') } },
    })
    const stranger = formatVerifierKey({ name: 'x', publicKey: other.publicKey })
    expect(logOps['note.verify']?.({ note, vkey: stranger })).toMatchObject({ error: { code: 'unknown_key' } })
  })
})

test('the published checkpoint is read as published', () => {
  const { note, parse } = checkpointExample
  const text = note.slice(0, note.indexOf('\n\n') + 1)
  const checkpoint = parseCheckpoint(text)
  expect(checkpoint).toEqual({ ...parse, size: Number(parse.size), root: Buffer.from(parse.root, 'base64') })
  expect(checkpoint && formatCheckpoint(checkpoint)).toBe(text)
})

test('a verifier key is written as the format writes it, and a weak or mislabelled one is refused', () => {
  const verifier = parseVerifierKey(example.vkey)
  expect(verifier && formatVerifierKey(verifier)).toBe(example.vkey)
  const smallOrder = formatVerifierKey({ name: 'weak', publicKey: Buffer.alloc(32) })
  for (const text of ['', 'a+b', smallOrder, example.vkey.slice(0, -1), ` ${example.vkey}`, `a+${example.vkey}`]) {
    expect(parseVerifierKey(text)).toBeUndefined()
  }
})

describe('a note', () => {
  const verifier = { name: 'a.log', publicKey: pool.publicKey }
  const signed = signNote('text\n\nmore\n', { ...pool, name: 'a.log', sign: (bytes) => pool.sign(bytes) })
  const cosigned =
    signed + signNote('text\n\nmore\n', { ...other, name: 'b', sign: (b) => other.sign(b) }).split('\n\n')[2]

  test('opens for its signer, also with the lines of strangers beside', () => {
    expect(openNote(signed, verifier)).toEqual({ ok: true, text: 'text\n\nmore\n', signatures: 1 })
    expect(openNote(cosigned, verifier)).toMatchObject({ ok: true, signatures: 2 })
    expect(openNote(cosigned, { name: 'b', publicKey: other.publicKey })).toMatchObject({ ok: true })
  })

  test('does not open for a key that did not sign, or under another name', () => {
    expect(openNote(signed, { name: 'a.log', publicKey: other.publicKey })).toMatchObject({ code: 'unknown_key' })
    expect(openNote(signed, { name: 'b.log', publicKey: pool.publicKey })).toMatchObject({ code: 'unknown_key' })
  })

  const malformed: [string, string][] = [
    ['no separator', 'text\n'],
    ['no last line feed', signed.slice(0, -1)],
    ['an empty line at the end', `${signed}\n`],
    ['a tab', signed.replace('text', 'te\tt')],
    ['a carriage return', signed.replace('more\n', 'more\r\n')],
    ['half of a surrogate pair', signed.replace('text', '\ud800')],
    ['a hyphen instead of the dash', signed.replace('—', '-')],
    ['two spaces', signed.replace('a.log ', 'a.log  ')],
    ['a plus sign in the name', signed.replace('a.log', 'a+log')],
    ['base64 without padding', `${signed.trimEnd()}A\n`],
    ['a signature without bytes', signed.replace(/log .*/, 'log AAAAAA==')],
    ['more than a hundred lines', `${signed}${`${signed.split('\n\n')[2]}`.repeat(100)}`],
    ['more than 64 KiB', signed.replace('text', 'x'.repeat(70_000))],
  ]
  test.each(malformed)('with %s is malformed', (_, text) => {
    expect(openNote(text, verifier)).toMatchObject({ ok: false, code: 'malformed_note' })
  })

  test('is never signed over a text that is none', () => {
    for (const text of ['no end', 'tab\t\n', '']) {
      expect(() => signNote(text, { ...pool, name: 'a', sign: (b) => pool.sign(b) })).toThrow(TypeError)
    }
    expect(() => signNote('a\n', { ...pool, name: 'a b', sign: (b) => pool.sign(b) })).toThrow(TypeError)
  })
})

describe("a pool's checkpoint", () => {
  test('opens to what was signed, for any size', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), fc.integer({ min: 1, max: 999_999_999 }), (size, generation) => {
        const opened = openCheckpoint(signCheckpoint({ generation, size, root: emptyRoot }, pool), pool.publicKey)
        const checkpoint = { origin: logOrigin(pool.id, generation), size, root: emptyRoot, generation }
        expect(opened).toEqual({ ok: true, checkpoint })
      }),
      { numRuns: 50 },
    )
  })

  test('is refused when one character of it is another', () => {
    fc.assert(
      fc.property(fc.nat(note.length - 1), fc.constantFrom('a', '0', '7', '=', '/', '\n', ' '), (at, character) => {
        fc.pre(note[at] !== character)
        return !openCheckpoint(note.slice(0, at) + character + note.slice(at + 1), pool.publicKey).ok
      }),
      { numRuns: 1_000 },
    )
  })

  const resigned = (text: string) => signNote(text, { ...pool, name: logKeyName(pool.id), sign: (b) => pool.sign(b) })
  const base64 = root.toString('base64')
  const origin = logOrigin(pool.id, 1)
  const wrong: [string, string][] = [
    ['of another pool', `${logOrigin(other.id, 1)}\n42\n${base64}\n`],
    ['of no generation', `lichen/${pool.id}\n42\n${base64}\n`],
    ['of generation zero', `${logOrigin(pool.id, 0)}\n42\n${base64}\n`],
    ['of a generation with a leading zero', `lichen/${pool.id}/01\n42\n${base64}\n`],
    ['with a leading zero', `${origin}\n042\n${base64}\n`],
    ['with a sign', `${origin}\n+42\n${base64}\n`],
    ['with a size beyond 2^53', `${origin}\n9007199254740993\n${base64}\n`],
    ['with a root of 31 bytes', `${origin}\n42\n${root.subarray(1).toString('base64')}\n`],
    ['with the URL alphabet', `${origin}\n42\n${Buffer.alloc(32, 0xff).toString('base64').replaceAll('/', '_')}\n`],
    ['with bits after the last byte', `${origin}\n42\n${base64.slice(0, -2)}${base64.at(-2) === 'B' ? 'C' : 'B'}=\n`],
    ['with an extension line', `${origin}\n42\n${base64}\nextension\n`],
  ]
  test.each(wrong)('%s is refused even when the pool signed it', (_, text) => {
    expect(openCheckpoint(resigned(text), pool.publicKey)).toMatchObject({ ok: false, code: 'malformed_checkpoint' })
  })

  test('with a second signature line is refused, so that a receipt has one form', () => {
    const twice = `${note}${note.slice(note.indexOf('—'))}`
    expect(openCheckpoint(twice, pool.publicKey)).toMatchObject({ ok: false, code: 'malformed_checkpoint' })
  })
})
