import type { z } from 'zod'
import { type failedSchema, type Refusal, type RefusalCode, refusalCodes } from '#protocol'

/** Refusals about the request itself: their sentence reaches the client, and no other worker is asked. */
const aboutTheRequest: readonly RefusalCode[] = [
  'invalid_request',
  'unsupported_parameter',
  'context_length_exceeded',
  'invalid_schema',
]
/** Refusals about the worker's own state: code kept, sentence ours, another worker may do better. */
const aboutTheWorker: readonly RefusalCode[] = ['model_not_found', 'overloaded', 'shutting_down', 'deadline_exceeded']

/**
 * What a worker's `failed` means to the pool. A worker is not trusted to write to the pool's clients: only a refusal
 * of the request keeps its words; everything else gets a sentence of ours and may be retried.
 */
export function refusalFromWorker(failed: z.infer<typeof failedSchema>): { retry: boolean; refusal: Refusal } {
  const code = Object.hasOwn(refusalCodes, failed.code) ? (failed.code as RefusalCode) : 'upstream_error'
  if (aboutTheRequest.includes(code)) {
    const { message, fix, param } = failed
    return { retry: failed.retry, refusal: { code, message, fix, ...(param === null ? {} : { param }) } }
  }
  return {
    retry: failed.retry || refusalCodes[code].status >= 500 || code === 'model_not_found',
    refusal: {
      code: aboutTheWorker.includes(code) ? code : 'upstream_error',
      message: 'The worker could not compute the answer.',
      fix: 'Try again; ask the operator to look at the worker when it repeats.',
    },
  }
}
