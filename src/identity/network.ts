import { isIP } from 'node:net'
import { PoolError } from '#protocol'

/**
 * An address, or a network in CIDR form, as PostgreSQL's `inet` reads it. A zone (`%eth0`) is left out: it names a cable, not a machine.
 * @throws PoolError invalid_request.
 */
export function parseNetwork(text: string): string {
  const [written = '', prefix, ...rest] = text.trim().split('/')
  const address = inetOf(written)
  const most = isIP(written) === 6 ? 128 : 32
  const usable = prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= most && Number(prefix) >= 1)
  if (address !== undefined && usable && rest.length === 0)
    return prefix === undefined ? address : `${address}/${prefix}`
  throw new PoolError(
    'invalid_request',
    'That is no address and no network.',
    'Write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32.',
    { param: 'address' },
  )
}

/** What a socket says of its other end, for `inet`; undefined when it says nothing usable. */
export function inetOf(address: string | undefined): string | undefined {
  if (address === undefined || isIP(address) === 0) return undefined
  return address.split('%')[0]
}
