import { expect, test } from 'vitest'
import { inetOf, parseNetwork } from './network.ts'

const refused = { refusal: expect.objectContaining({ code: 'invalid_request', param: 'address' }) }

test('one address and a network can be blocked', () => {
  expect(parseNetwork(' 192.0.2.7 ')).toBe('192.0.2.7')
  expect(parseNetwork('192.0.2.0/24')).toBe('192.0.2.0/24')
  expect(parseNetwork('2001:db8::/32')).toBe('2001:db8::/32')
  expect(parseNetwork('fe80::1%eth0')).toBe('fe80::1')
})

test.each(['', 'alice', '192.0.2', '192.0.2.0/33', '2001:db8::/129', '10.0.0.0/8/8', '10.0.0.0/', '0.0.0.0/0', '::/0'])(
  '%j is neither, and nobody blocks everybody by mistake',
  (text) => {
    expect(() => parseNetwork(text)).toThrow(expect.objectContaining(refused))
  },
)

test('a socket without an address is nowhere, and a zone is no part of it', () => {
  expect(inetOf(undefined)).toBeUndefined()
  expect(inetOf('')).toBeUndefined()
  expect(inetOf('fe80::1%eth0')).toBe('fe80::1')
})
