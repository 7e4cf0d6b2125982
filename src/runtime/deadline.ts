import type { Runtime } from './runtime.ts'

/** An abort signal that fires after a while; dispose it when the wait is over. */
export interface Deadline extends Disposable {
  readonly signal: AbortSignal
}

/** What is late; as a function it is made when it is needed: an error costs its stack. */
type Reason = Error | (() => Error)
const made = (reason: Reason) => (typeof reason === 'function' ? reason() : reason)

/** Aborts with `reason` after `ms`, or as soon as `parent` aborts. */
export function deadlineSignal(runtime: Runtime, ms: number, reason: Reason, parent?: AbortSignal): Deadline {
  const own = new AbortController()
  const timer = runtime.after(ms, () => own.abort(made(reason)), { keepAlive: true })
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

/** The promise's value, or a rejection with `reason` once `ms` have passed. The work itself is not stopped. */
export async function withDeadline<T>(runtime: Runtime, ms: number, reason: Reason, work: Promise<T>): Promise<T> {
  let timer: { cancel(): void } | undefined
  const late = new Promise<never>((_, reject) => {
    timer = runtime.after(ms, () => reject(made(reason)), { keepAlive: true })
  })
  try {
    return await Promise.race([work, late])
  } finally {
    timer?.cancel()
  }
}
