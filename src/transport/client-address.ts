import { BlockList, isIP } from 'node:net'
import { PoolError } from '#protocol'

/** Addresses whose word about the client is believed. */
export type TrustedProxies = BlockList

/** Parses addresses and CIDR ranges. Throws config_invalid and names the one that is neither. */
export function parseTrustedProxies(entries: readonly string[]): TrustedProxies {
  const list = new BlockList()
  for (const entry of entries) {
    const [address = '', prefix] = entry.split('/')
    const version = isIP(address)
    const bits = prefix === undefined ? (version === 6 ? 128 : 32) : /^\d{1,3}$/.test(prefix) ? Number(prefix) : -1
    if (version === 0 || bits < 0 || bits > (version === 6 ? 128 : 32)) {
      throw new PoolError(
        'config_invalid',
        `"${entry}" is no address and no range of addresses.`,
        'Name trusted proxies like 10.0.0.7, 10.0.0.0/8 or fd00::/8.',
      )
    }
    list.addSubnet(address, bits, version === 6 ? 'ipv6' : 'ipv4')
  }
  return list
}

/**
 * The client's address: that of the socket, or, behind trusted proxies, the right-most of `X-Forwarded-For` that no trusted proxy
 * owns. What stands left of it was written by the client itself. IPv4 inside IPv6 becomes IPv4.
 */
export function clientAddress(
  remoteAddress: string | undefined,
  forwardedFor: string | undefined,
  trusted: TrustedProxies,
): string {
  let address = plainAddress(remoteAddress ?? '')
  const chain = forwardedFor?.split(',') ?? []
  while (chain.length > 0 && isWithin(address, trusted)) {
    const next = plainAddress(chain.pop()?.trim() ?? '')
    if (isIP(next) === 0) break
    address = next
  }
  return address
}

/** The network that shares a limit: /24 of an IPv4, /56 of an IPv6 address. */
export function sourceGroup(address: string): string {
  if (isIP(address) === 4) return address.slice(0, address.lastIndexOf('.'))
  if (isIP(address) === 0) return 'unknown'
  const [left = '', right = ''] = (address.split('%')[0] ?? '').split('::')
  const head = left.split(':').filter(Boolean)
  const tail = right.split(':').filter(Boolean)
  const groups = address.includes('::') ? [...head, ...Array(8 - head.length - tail.length).fill('0'), ...tail] : head
  const bits = groups.slice(0, 4).map((group) => Number.parseInt(group, 16))
  bits[3] = (bits[3] ?? 0) & 0xff00
  return bits.map((group) => group.toString(16)).join(':')
}

function plainAddress(address: string): string {
  return /^::ffff:\d+\.\d+\.\d+\.\d+$/i.test(address) ? address.slice(7) : address
}

/** Whether an address is one of those, or in one of their ranges. */
export function isWithin(address: string, those: BlockList): boolean {
  const version = isIP(address)
  return version !== 0 && those.check(address, version === 6 ? 'ipv6' : 'ipv4')
}
