import { expect, test } from 'vitest'
import { clientAddress, parseTrustedProxies, sourceGroup } from './client-address.ts'

const proxies = parseTrustedProxies(['127.0.0.1', '10.0.0.0/8', 'fd00::/8', '::1'])

test.each([
  ['a direct client', '203.0.113.9', undefined, '203.0.113.9'],
  ['a direct client that invents a chain', '203.0.113.9', '198.51.100.1', '203.0.113.9'],
  ['a client behind one proxy', '10.1.2.3', '198.51.100.1', '198.51.100.1'],
  ['a client behind two proxies', '10.1.2.3', '198.51.100.1, 10.9.9.9', '198.51.100.1'],
  ['a client behind a proxy that invents a chain', '127.0.0.1', '1.1.1.1,198.51.100.1', '198.51.100.1'],
  ['a proxy itself', '10.1.2.3', undefined, '10.1.2.3'],
  ['only proxies in the chain', '10.1.2.3', '10.4.4.4', '10.4.4.4'],
  ['rubbish in the chain', '10.1.2.3', '198.51.100.1, x', '10.1.2.3'],
  ['an empty chain', '10.1.2.3', '', '10.1.2.3'],
  ['IPv4 written as IPv6', '::ffff:203.0.113.9', undefined, '203.0.113.9'],
  ['a proxy written as IPv6', '::ffff:10.0.0.1', '2001:db8::7', '2001:db8::7'],
  ['a proxy with IPv6', 'fd12::1', '2001:db8::7', '2001:db8::7'],
  ['a socket that is gone', undefined, '198.51.100.1', ''],
])('the address of %s', (_, remote, chain, expected) => {
  expect(clientAddress(remote, chain, proxies)).toBe(expected)
})

test.each([
  ['203.0.113.9', '203.0.113.255', true],
  ['203.0.113.9', '203.0.114.9', false],
  ['2001:db8:0:1234::1', '2001:db8:0:12ff:1:2:3:4', true],
  ['2001:db8:0:1234::1', '2001:db8:0:1334::1', false],
  ['::1', '0:0:0:0:0:0:0:2', true],
  ['fe80::1%eth0', 'fe80::2', true],
  ['', 'rubbish', true],
])('%s and %s share a limit: %s', (one, other, same) => {
  expect(sourceGroup(one) === sourceGroup(other)).toBe(same)
})

test.each(['10.0.0.0/33', 'fd00::/129', 'proxy.local', '10.0.0', '10.0.0.0/-1', '10.0.0.0/', ''])(
  'the setting "%s" is refused by name',
  (entry) => {
    expect(() => parseTrustedProxies([entry])).toThrow(`"${entry}" is no address`)
  },
)
