import { createHmac, randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { ShortHmac, shortHmacBytesMax } from './short-hmac.ts'

const hex = (text: string) => Buffer.from(text, 'hex')

test('the published vectors with short messages come out (RFC 4231, cases 1, 2 and 4)', () => {
  // HMAC fills a short key with zeros (RFC 2104), so that a longer one that ends with zeros is the same.
  const padded = (key: Buffer) => Buffer.concat([key, Buffer.alloc(32 - key.length)])
  const vectors = [
    [Buffer.alloc(20, 0x0b), 'Hi There', 'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7'],
    [
      Buffer.from('Jefe'),
      'what do ya want for nothing?',
      '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
    ],
  ] as const
  for (const [key, message, mac] of vectors) {
    expect(new ShortHmac(padded(key)).digest(Buffer.from(message)).toString('hex')).toBe(mac)
  }
  const fourth = new ShortHmac(padded(hex('0102030405060708090a0b0c0d0e0f10111213141516171819')))
  expect(fourth.digest(Buffer.alloc(50, 0xcd)).toString('hex')).toBe(
    '82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b',
  )
})

test('it is what Node computes, for keys and messages of every length, in however many parts', () => {
  for (let n = 0; n < 2_000; n++) {
    const key = randomBytes(32 + (n % 33))
    const message = randomBytes(n % (shortHmacBytesMax + 1))
    const cut = n % (message.length + 1)
    const found = new ShortHmac(key).digest(message.subarray(0, cut), message.subarray(cut))
    expect(found).toEqual(createHmac('sha256', key).update(message).digest())
  }
})

test('one key serves many messages, and what is too long or too short is refused', () => {
  const key = Buffer.alloc(32, 9)
  const hmac = new ShortHmac(key)
  const [one, other] = [Buffer.from('one'), Buffer.from('another')]
  const first = hmac.digest(one)
  hmac.digest(other)
  expect(hmac.digest(one)).toEqual(first)
  expect(() => hmac.digest(Buffer.alloc(shortHmacBytesMax + 1))).toThrow('too long')
  expect(() => new ShortHmac(Buffer.alloc(31))).toThrow('32 to 64')
})
