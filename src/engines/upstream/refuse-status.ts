import { z } from 'zod'
import { PoolError, type RefusalCode } from '#protocol'

const errorSchema = z.object({
  error: z.union([
    z.string(),
    z.object({
      message: z.string().nullish(),
      code: z.union([z.string(), z.number()]).nullish(),
      param: z.string().nullish(),
    }),
  ]),
})

/** Codes that mean the same here as there. */
const sharedCodes: readonly RefusalCode[] = [
  'context_length_exceeded',
  'invalid_request',
  'invalid_schema',
  'unsupported_parameter',
]

/** What an upstream's error body says: its sentence, cut and without control characters, and a code if we share it. */
function readError(body: string): { message: string; code: RefusalCode; param: string | undefined } {
  let json: unknown
  try {
    json = JSON.parse(body)
  } catch {
    json = undefined // an error page; nothing of it is passed on
  }
  const parsed = errorSchema.safeParse(json)
  const error = parsed.success ? parsed.data.error : ''
  const said = typeof error === 'string' ? { message: error } : error
  const code = 'code' in said ? sharedCodes.find((one) => one === said.code) : undefined
  const param = 'param' in said && said.param ? said.param.slice(0, 200) : undefined
  const message = (said.message ?? '').replace(/\p{Cc}+/gu, ' ').slice(0, 300)
  return { message, code: code ?? 'invalid_request', param }
}

/**
 * What a status other than 200 means. A `PoolError` when the request is at fault or the operator must act; another
 * `Error` when a worker elsewhere may do better.
 */
export function refuseStatus(status: number, body: string): Error {
  if (status === 401 || status === 403) {
    const fix = "Set the upstream's API key in the worker's configuration."
    return new PoolError('upstream_error', 'The upstream does not accept the key of this worker.', fix)
  }
  if ([400, 413, 414, 415, 422].includes(status)) {
    const { message, code, param } = readError(body)
    const what = message === '' ? `The upstream refused the request (${status}).` : `The upstream refused: ${message}`
    return new PoolError(code, what, 'Change the request, or use another model.', param === undefined ? {} : { param })
  }
  if (status === 404) return new Error('the upstream does not have this model or this endpoint')
  if (status === 429) return new Error('the upstream has too much to do')
  return new Error(`the upstream answered with status ${status}`)
}
