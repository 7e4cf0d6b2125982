import { BlockList, isIP } from 'node:net'
import { federationLimits } from './limits.ts'

export type UrlRefusal = 'malformed_url' | 'not_a_base' | 'scheme_not_allowed' | 'forbidden_address' | 'no_address'

const whyNot: Readonly<Record<UrlRefusal, string>> = {
  malformed_url: 'it is no URL',
  not_a_base: 'it has a path, a query, or a user',
  scheme_not_allowed: 'it is not https, and its host is none of `federation_http_hosts`',
  forbidden_address: 'it leads into a network that is not public, and is none of `federation_private_ranges`',
  no_address: 'its name has no address',
}

/** The end of the sentence “The URL may not be called: …”. */
export const whyNotCalled = (code: UrlRefusal) => `${whyNot[code]} (${code})`

/** What the operator allows beyond public addresses over TLS. */
export interface UrlPolicy {
  /** Hosts, with the port where there is one, that may be called without TLS. */
  readonly httpHosts: readonly string[]
  /** Ranges in CIDR notation that may be called although they are private. */
  readonly privateRanges: readonly string[]
}

export type CheckedUrl =
  | {
      readonly ok: true
      readonly origin: string
      readonly host: string
      readonly addresses: readonly string[] | undefined
    }
  | { readonly ok: false; readonly code: UrlRefusal }

/**
 * Whether a URL that a peer gave may be called. The WHATWG parser reads every spelling of an IPv4 address (decimal, hex, octal, full-width and
 * circled digits) as one; a name is judged by all addresses it resolves to, and the caller connects to one of exactly those.
 */
export function checkPeerUrl(text: string, policy: UrlPolicy, resolved?: readonly string[]): CheckedUrl {
  const url = text.length <= federationLimits.urlCharsMax && URL.canParse(text) ? new URL(text) : undefined
  if (!url || /[\s\\]/.test(text)) return { ok: false, code: 'malformed_url' }
  const { username, password, pathname, search, hash } = url
  if (`${username}${password}${search}${hash}` !== '' || pathname !== '/' || /[?#@]/.test(text))
    return { ok: false, code: 'not_a_base' }
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && policy.httpHosts.includes(url.host)))
    return { ok: false, code: 'scheme_not_allowed' }
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const addresses = isIP(host) ? [host] : /(^|\.)localhost\.?$/.test(host) ? ['127.0.0.1', '::1'] : resolved
  if (addresses?.length === 0) return { ok: false, code: 'no_address' }
  const ranges = listOf(policy.privateRanges)
  if (addresses?.some((address) => !mayConnect(address, ranges))) return { ok: false, code: 'forbidden_address' }
  return { ok: true, origin: url.origin, host, addresses }
}

/** IANA special-purpose registries (RFC 6890 and later): what is not a public unicast address. */
const notPublic = listOf([
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/3',
  '2001::/23',
  '2001:db8::/32',
  '2002::/16',
  '3fff::/20',
])
/** Global unicast (RFC 4291); all else of IPv6 is something special. */
const unicast6 = listOf(['2000::/3'])

function mayConnect(address: string, ranges: BlockList): boolean {
  const plain = unmapped(address)
  const family = isIP(plain)
  if (family === 0) return false
  const kind = family === 4 ? 'ipv4' : 'ipv6'
  if (ranges.check(plain, kind)) return true
  return !notPublic.check(plain, kind) && (family === 4 || unicast6.check(plain, kind))
}

/** `::ffff:7f00:1` and `::ffff:127.0.0.1` reach 127.0.0.1. */
function unmapped(address: string): string {
  if (isIP(address) !== 6 || address.includes('%')) return address.includes('%') ? '' : address
  const host = new URL(`http://[${address}]`).hostname
  const words = /^\[::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})\]$/.exec(host)
  if (!words) return address
  const [high, low] = [Number.parseInt(words[1] ?? '', 16), Number.parseInt(words[2] ?? '', 16)]
  return [high >> 8, high & 255, low >> 8, low & 255].join('.')
}

function listOf(ranges: readonly string[]): BlockList {
  const list = new BlockList()
  for (const range of ranges) {
    const [address = '', bits] = range.split('/')
    const four = isIP(address) === 4
    list.addSubnet(address, Number(bits ?? (four ? 32 : 128)), four ? 'ipv4' : 'ipv6')
  }
  return list
}
