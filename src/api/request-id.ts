import type { Runtime } from '#runtime'
import { apiLimits } from './limits.ts'

const sane = /^[\w.:+/=-]+$/

/** The client's own `x-request-id` when it is short and plain, else a fresh one: it is repeated in headers and logs. */
export function requestId(offered: string | string[] | undefined, runtime: Runtime): string {
  if (typeof offered === 'string' && offered.length <= apiLimits.requestIdCharsMax && sane.test(offered)) return offered
  return `req_${runtime.uuid().replaceAll('-', '')}`
}
