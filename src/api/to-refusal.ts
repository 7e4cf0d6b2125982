import { PoolError, protocolLimits, type Refusal } from '#protocol'
import { databaseError } from '#storage'
import { apiLimits } from './limits.ts'

/** Fastify's own errors that are the client's doing (its `docs/Reference/Errors.md`). */
const knownErrors: Readonly<Record<string, Refusal>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: {
    code: 'body_too_large',
    message: 'The request body is too large.',
    fix: `Send at most ${protocolLimits.bodyBytesMax / 2 ** 20} MiB, or ${apiLimits.adminBodyBytesMax / 2 ** 10} KiB to administration.`,
  },
  FST_ERR_CTP_INVALID_MEDIA_TYPE: {
    code: 'unsupported_media_type',
    message: 'The body is not declared as JSON.',
    fix: 'Send `content-type: application/json`.',
  },
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: {
    code: 'invalid_request',
    message: 'The body is not as long as `content-length` says.',
    fix: 'Send the header that fits the body.',
  },
  FST_ERR_MAX_PARAM_LENGTH: {
    code: 'route_not_found',
    message: 'A part of the path is too long to name anything.',
    fix: 'See `/openapi.json` for what there is.',
  },
  FST_ERR_BAD_URL: {
    code: 'invalid_request',
    message: 'The path is not a valid URL path.',
    fix: 'Encode it with percent signs, as in RFC 3986.',
  },
}

const internal: Refusal = {
  code: 'internal_error',
  message: 'Something went wrong in the pool.',
  fix: 'Try again; the log has the details under this request id.',
}

const tooSlow: Refusal = {
  code: 'request_timeout',
  message: 'The request did not arrive in time.',
  fix: `Send headers within ${apiLimits.headersTimeoutMs / 1_000} s and the body within ${apiLimits.requestTimeoutMs / 1_000} s.`,
}

const malformed: Refusal = {
  code: 'invalid_request',
  message: 'This is not a valid HTTP/1.1 request.',
  fix: 'Use an HTTP client library.',
}

const headersTooLarge: Refusal = {
  code: 'invalid_request',
  message: 'The request headers are too large.',
  fix: `Send at most ${apiLimits.headerBytesMax / 1_024} KiB of headers.`,
}

/**
 * What a client may be told about an error: of a database that is away, that it is, whichever question found out. The message of an error we did not make is never passed on; `unexpected`
 * says that it belongs in the log.
 */
export function toRefusal(error: unknown): { readonly refusal: Refusal; readonly unexpected: boolean } {
  const known = databaseError(error)
  if (known instanceof PoolError) return { refusal: known.refusal, unexpected: false }
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  const theirs = Object.hasOwn(knownErrors, code) ? knownErrors[code] : undefined
  return theirs ? { refusal: theirs, unexpected: false } : { refusal: internal, unexpected: true }
}

/** What to say to bytes that are no HTTP request, or come too slowly. */
export function toSocketRefusal(code: string | undefined): Refusal {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return tooSlow
  return code === 'HPE_HEADER_OVERFLOW' ? headersTooLarge : malformed
}
