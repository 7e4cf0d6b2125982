import type { FastifyInstance } from 'fastify'
import { assuranceHeader, orderHeader, privacyHeader } from '#protocol'
import type { ApiDeps } from './deps.ts'
import { securityHeaders } from './refusal-headers.ts'

/** Headers of a response for the page that asked: name, value, name, value. None where no page of another origin may. */
export type OriginHeaders = (request: {
  readonly url: string
  readonly origin: string | undefined
}) => readonly string[]

/**
 * Which pages of other origins a browser lets talk to the pool (Fetch standard, §3.3): those the operator listed, and only to what API keys are
 * for. A key travels in a header that pages set themselves, never in a cookie, so a page gains nothing its reader did not give it.
 */
export function originHeaders({ browserOrigins = [] }: Pick<ApiDeps, 'browserOrigins'>): OriginHeaders {
  const allowed = new Set(browserOrigins)
  const none: readonly string[] = []
  if (allowed.size === 0) return () => none
  return ({ url, origin }) => {
    if (!isForPrograms(url)) return none
    if (origin === undefined || !allowed.has(origin)) return vary
    return ['access-control-allow-origin', origin, 'access-control-expose-headers', exposed, ...vary]
  }
}

/** Answers the question a browser asks before it sends a page's request; the request itself is admitted like every other. */
export function answerPreflights(app: FastifyInstance, headersFor: OriginHeaders): void {
  app.addHook('onRequest', (request, reply, done) => {
    const { origin, 'access-control-request-method': method } = request.headers
    if (request.method !== 'OPTIONS' || method === undefined) return done()
    const headers = headersFor({ url: request.url, origin })
    if (!headers.includes('access-control-allow-origin')) return done()
    reply.hijack()
    reply.raw.writeHead(204, [...headers, ...permission, ...securityHeaders])
    reply.raw.end()
  })
}

/** Administration is for the machine it runs on, and pools talk to each other without browsers. */
const isForPrograms = (url: string): boolean =>
  url.startsWith('/v1/') && !/^\/v1\/(admin|federation|workers)\b/.test(url)

const vary = ['vary', 'origin']
const accepted = ['authorization', 'content-type', 'idempotency-key', 'x-api-key', 'x-request-id']
const permission = [
  'access-control-allow-methods',
  'GET, POST',
  'access-control-allow-headers',
  // `*` stands for what OpenAI's client adds of its own (x-stainless-…); `authorization` must be named beside it.
  [...accepted, assuranceHeader, orderHeader, privacyHeader, '*'].join(', '),
  'access-control-max-age',
  '600',
]
/** What a page may read besides the body; `*` would do for requests without cookies, and Safari 15 does not know it. */
const exposed = [
  assuranceHeader,
  privacyHeader,
  'idempotent-replayed',
  'retry-after',
  'retry-after-ms',
  'x-lichen-budget-remaining',
  'x-lichen-budget-remaining-today',
  'x-lichen-budget-reset-today',
  'x-lichen-receipt',
  'x-lichen-salt',
  'x-lichen-served-model',
  'x-ratelimit-limit-requests',
  'x-ratelimit-limit-tokens',
  'x-ratelimit-remaining-requests',
  'x-ratelimit-remaining-tokens',
  'x-ratelimit-reset-requests',
  'x-ratelimit-reset-tokens',
  'x-request-id',
  'x-should-retry',
].join(', ')
