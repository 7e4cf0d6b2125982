import type { ServerResponse } from 'node:http'
import type { Runtime } from '#runtime'
import { apiLimits } from './limits.ts'

/**
 * Ends connections whose request is refused before its body has been read. The body is not read any more, and the connection ends: behind the
 * answer, but not at once, or a client that is still sending meets an error instead of the answer (RFC 9112 §9.6).
 */
export class Linger {
  readonly #runtime: Runtime
  #lingering = 0

  constructor(runtime: Runtime) {
    this.#runtime = runtime
  }

  /** For an answer with `connection: close` that is not written yet. */
  behind(out: ServerResponse): void {
    const { socket } = out
    // a flood is cut at once
    if (!socket || this.#lingering >= apiLimits.lingeringMax) return
    this.#lingering++
    let timer: { cancel(): void } | undefined
    socket.once('close', () => {
      this.#lingering--
      timer?.cancel()
    })
    const endSoon = () => {
      socket.end()
      // node:http has just begun to read the rest, for the next request; that must have come into effect before it can be stopped
      setImmediate(() => socket.pause())
      timer ??= this.#runtime.after(apiLimits.lingerMs, () => socket.destroy())
    }
    // node:http calls it once the answer is written
    socket.destroySoon = endSoon
  }
}
