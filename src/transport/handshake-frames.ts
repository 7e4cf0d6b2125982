import { PoolError, workerProtocol } from '#protocol'
import type { Deadline, Runtime } from '#runtime'

/** Subprotocol of the WebSocket: lets an end that speaks another version say so before the handshake. */
export const subprotocol = 'lichen.worker.1'
/** Where workers knock, below the pool's URL. */
export const sessionPath = '/v1/workers/session'

/** `lichen/worker/1` ‖ PoolId as raw bytes: a handshake meant for another pool or version does not authenticate. */
export function prologue(poolId: string): Buffer {
  return Buffer.concat([Buffer.from(workerProtocol), Buffer.from(poolId, 'hex')])
}

/** The refusal of a side that could not prove who it is. */
export function handshakeFailed(message: string): PoolError {
  return new PoolError('handshake_failed', message, 'Update both sides, and check what stands between worker and pool.')
}

/** When a wait ends, and what for. */
interface Patience {
  readonly ms: number
  readonly late: () => Error
  readonly parent: AbortSignal | undefined
  /** Why, when `parent` aborts; its own reason when absent. */
  readonly left?: () => Error
}

/** Aborts after a while, or when `parent` does. The errors are made only then: ten thousand workers that come in time need none. */
export function handshakeDeadline(runtime: Runtime, { ms, late, parent, left }: Patience): Deadline {
  const own = new AbortController()
  const timer = runtime.after(ms, () => own.abort(late()), { keepAlive: true })
  const follow = () => own.abort(left?.() ?? parent?.reason)
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

/** The promise's value, or the signal's reason once it aborts. The work itself is not stopped. */
export async function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  let stop: (() => void) | undefined
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason)
    if (signal.aborted) stop()
    else signal.addEventListener('abort', stop, { once: true })
  })
  try {
    return await Promise.race([work, aborted])
  } finally {
    if (stop) signal.removeEventListener('abort', stop)
  }
}
