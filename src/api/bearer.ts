import type { IncomingHttpHeaders } from 'node:http'
import { PoolError } from '#protocol'

/** The key a request brings: `Authorization: Bearer KEY` (RFC 6750 §2.1) or `x-api-key: KEY`. */
function bearerOf(headers: IncomingHttpHeaders): string | undefined {
  const { authorization } = headers
  if (authorization === undefined) {
    const key = headers['x-api-key']
    return typeof key === 'string' && key !== '' ? key : undefined
  }
  if (authorization.slice(0, 7).toLowerCase() !== 'bearer ') return undefined
  return authorization.slice(7).trim() || undefined
}

/** The key, or the 401 for a request without one. */
export function requireBearer(headers: IncomingHttpHeaders, fix: string): string | PoolError {
  return bearerOf(headers) ?? new PoolError('missing_api_key', 'You did not provide a key.', fix)
}
