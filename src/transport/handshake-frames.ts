import { PoolError, workerProtocol } from '#protocol'

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
