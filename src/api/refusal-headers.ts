import { type Refusal, refusalCodes } from '#protocol'

/** On every response: nothing guesses the type, nothing keeps a copy. */
export const securityHeaders = ['x-content-type-options', 'nosniff', 'cache-control', 'no-store'] as const

/** Codes after which the same request cannot succeed soon although its status invites a retry. */
const finalCodes: ReadonlySet<string> = new Set(['idempotency_body_gone', 'conflict'])

/** When the same request may be tried again, milliseconds; undefined: a client need not be told, or it is no use. */
export function retryAfterOf({ code, retryAfterMs, final }: Refusal): number | undefined {
  if (final) return undefined
  const { status } = refusalCodes[code]
  return retryAfterMs ?? (status === 429 || status === 503 ? 1_000 : undefined)
}

/** Headers that a refusal adds: when to come back, and for OpenAI's clients whether at all. */
export function refusalHeaders(refusal: Refusal): string[] {
  const headers: string[] = []
  const { status } = refusalCodes[refusal.code]
  const retryAfterMs = retryAfterOf(refusal)
  if (retryAfterMs !== undefined) {
    headers.push('retry-after', String(Math.max(1, Math.ceil(retryAfterMs / 1_000))))
    headers.push('retry-after-ms', String(Math.max(1, Math.ceil(retryAfterMs))))
  }
  if (refusal.final || finalCodes.has(refusal.code)) headers.push('x-should-retry', 'false')
  if (status === 401) headers.push('www-authenticate', 'Bearer realm="lichen"')
  return headers
}
