import type { Runtime } from './runtime.ts'

/** An abort signal that fires after a while; dispose it when the wait is over. */
export interface Deadline extends Disposable {
  readonly signal: AbortSignal
}

/** Aborts with `reason` after `ms`, or as soon as `parent` aborts. */
export function deadlineSignal(runtime: Runtime, ms: number, reason: Error, parent?: AbortSignal): Deadline {
  const own = new AbortController()
  const timer = runtime.after(ms, () => own.abort(reason), { keepAlive: true })
  const follow = () => own.abort(parent?.reason)
  if (parent?.aborted) follow()
  else parent?.addEventListener('abort', follow, { once: true })
  return {
    signal: own.signal,
    [Symbol.dispose]() {
      timer.cancel()
      parent?.removeEventListener('abort', follow)
    },
  }
}

/**
 * The promise's value, or a rejection with `reason` once `ms` have passed. The work itself is not stopped. A reason that is a function is
 * made when it is needed: an error costs its stack.
 */
export async function withDeadline<T>(
  runtime: Runtime,
  ms: number,
  reason: Error | (() => Error),
  work: Promise<T>,
): Promise<T> {
  let timer: { cancel(): void } | undefined
  const late = new Promise<never>((_, reject) => {
    timer = runtime.after(ms, () => reject(typeof reason === 'function' ? reason() : reason), { keepAlive: true })
  })
  try {
    return await Promise.race([work, late])
  } finally {
    timer?.cancel()
  }
}
