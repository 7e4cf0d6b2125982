import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parsePoolId } from '#protocol'
import { encodeInvite, parseInvite } from './invite-text.ts'

const poolId = parsePoolId('ab'.repeat(32)) ?? expect.fail()
const invite = { url: 'https://pool.example:5424', poolId, token: Buffer.alloc(32, 7) }
const text = encodeInvite(invite)

describe('an invite', () => {
  test('is read back as it was written, also when a terminal wrapped it', () => {
    expect(parseInvite(text)).toEqual({ ok: true, invite })
    expect(parseInvite(`  ${text.slice(0, 40)}\n${text.slice(40)}\n`)).toEqual({ ok: true, invite })
  })

  test('with any character lost or changed is refused', () => {
    for (let i = 0; i < text.length; i++) {
      const other = text[i] === 'A' ? 'B' : 'A'
      expect(parseInvite(text.slice(0, i) + text.slice(i + 1)).ok).toBe(false)
      expect(parseInvite(text.slice(0, i) + other + text.slice(i + 1)).ok).toBe(false)
    }
  })

  test('is never an exception, whatever is pasted', () => {
    fc.assert(fc.property(fc.string(), (junk) => parseInvite(`lichen1_${junk}`).ok === false))
    fc.assert(fc.property(fc.base64String(), (junk) => parseInvite(`lichen1_${junk}`).ok === false))
    expect(parseInvite('').ok).toBe(false)
  })

  test('never carries an address with a password, or one no worker can dial', () => {
    for (const url of [
      'https://me:secret@pool.example',
      'file:///etc/passwd',
      'pool.example',
      'https://p.example/?t=1',
    ]) {
      expect(() => encodeInvite({ ...invite, url })).toThrow(TypeError)
    }
  })
})
