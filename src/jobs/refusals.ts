import type { AssuranceLevel, ModelFeature, Refusal } from '#protocol'

const again = 'Try again in a moment; official clients do so by themselves.'

export const modelNotFound = (model: string): Refusal => ({
  code: 'model_not_found',
  message: `No worker of this pool offers the model ${JSON.stringify(model)}.`,
  fix: 'Ask GET /v1/models for the names that exist here.',
  param: 'model',
})

export const featureMissing = (model: string, needs: readonly ModelFeature[]): Refusal => ({
  code: 'unsupported_parameter',
  message: `No worker of this pool offers ${JSON.stringify(model)} with ${needs.join(', ')}.`,
  fix: 'Leave out what needs it, or choose a model that has it: GET /v1/models lists features.',
  param: 'model',
})

export const noWorker = ({
  model,
  digest,
}: {
  readonly model: string
  readonly digest?: string | undefined
}): Refusal =>
  digest === undefined
    ? {
        code: 'no_worker',
        message: `No worker that offers ${JSON.stringify(model)} is connected right now.`,
        fix: again,
        retryAfterMs: 5_000,
      }
    : {
        code: 'no_worker',
        message: `No worker that offers ${JSON.stringify(model)} with the file ${digest} is connected right now.`,
        fix: 'Try again when one is back, or leave out `@…` to be answered from any file of that name: GET /v1/models lists the digests that are here.',
        retryAfterMs: 5_000,
      }

export const assuranceUnavailable = (level: AssuranceLevel, reason: string, message: string): Refusal => ({
  code: 'assurance_unavailable',
  message: `The assurance \`${level}\` cannot be given now (${reason}): ${message}`,
  fix: 'Try again later, or ask for `none`: the answer is then served and the receipt says that nobody checks it.',
  retryAfterMs: 30_000,
})

export const onlyOutside = (model: string): Refusal => ({
  code: 'privacy_unavailable',
  message: `Every worker that offers ${JSON.stringify(model)} now sends prompts on to a server outside the pool.`,
  fix: 'Choose a model that `GET /v1/models` lists with a digest, or ask with the privacy `standard`.',
  retryAfterMs: 30_000,
})

/** The prompt was seen once, and must not be seen again. */
export const seenOnce = (refusal: Refusal): Refusal => ({
  ...refusal,
  message: `${refusal.message} With the privacy \`single-exposure\` no second worker may see the prompt.`,
  fix: 'Ask again: that is a new exposure, of which you decide.',
})

export const queueFull = (whose: 'key' | 'pool', retryAfterMs: number): Refusal => ({
  code: 'queue_full',
  message: whose === 'key' ? 'This API key has too many requests waiting.' : 'Too many requests are waiting.',
  fix: again,
  retryAfterMs,
})

export const bodiesFull = (retryAfterMs: number): Refusal => ({
  code: 'overloaded',
  message: 'The requests being worked on fill the memory set aside for them.',
  fix: again,
  retryAfterMs,
})

export const cannotWrite = (forMs: number): Refusal => ({
  code: 'database_unavailable',
  message: `The database has taken no write for ${Math.round(forMs / 1_000)} s; nothing of this request was done.`,
  fix: 'Try again in a moment. If it lasts, look at the log of the pool and the disk it runs on.',
  retryAfterMs: 5_000,
})

export const waitedTooLong = (retryAfterMs: number): Refusal => ({
  code: 'overloaded',
  message: 'No worker became free in time.',
  fix: again,
  retryAfterMs,
})

export const workerLost = (reason: string): Refusal => ({
  code: 'worker_lost',
  message: `The worker that computed this was lost (${reason}) and no other could take over.`,
  fix: 'Try again: the pool chooses another worker.',
  retryAfterMs: 1_000,
})

export const unsigned: Refusal = {
  code: 'upstream_error',
  message: 'A worker did not sign for its answer.',
  fix: 'Try again: the pool chooses another worker.',
}

export const disagreement: Refusal = {
  code: 'assurance_unavailable',
  message:
    'The workers that computed this answer side by side do not agree (disagreement): nobody could be believed, and nobody is paid.',
  fix: 'Try again: the pool chooses other workers where it can.',
  retryAfterMs: 1_000,
}

export const companyGone: Refusal = {
  code: 'assurance_unavailable',
  message:
    'Workers that were to compute this answer side by side are gone (no_second_operator), and no other operator is here.',
  fix: 'Try again later, when more operators lend the model.',
  retryAfterMs: 30_000,
}

export const noThird: Refusal = {
  code: 'assurance_unavailable',
  message:
    'The workers that computed this answer do not agree, and no other operator is here to decide (no_third_worker). Nobody is paid.',
  fix: 'Try again later, when more operators lend the model.',
  retryAfterMs: 30_000,
}

export const tooManySideBySide = (choices: number): Refusal => ({
  code: 'unsupported_parameter',
  message: `${choices} choices, each computed by several workers, are too many for one receipt.`,
  fix: 'Ask for fewer choices.',
  param: 'n',
})

export const deadlineExceeded: Refusal = {
  code: 'deadline_exceeded',
  message: 'The answer was not finished within its time.',
  fix: 'Ask for fewer tokens, or try again when the pool is less busy.',
}

export const shuttingDown: Refusal = {
  code: 'shutting_down',
  message: 'The pool is shutting down.',
  fix: 'Try again in a moment, when it is back.',
  retryAfterMs: 2_000,
}

export const wrongVectors: Refusal = {
  code: 'upstream_error',
  message: 'The worker did not answer with one vector for each input.',
  fix: 'Try again: the pool chooses another worker.',
}

export const broken: Refusal = {
  code: 'internal_error',
  message: 'The pool made a mistake with this request.',
  fix: 'Try again, and report it with the request id if it lasts.',
}
