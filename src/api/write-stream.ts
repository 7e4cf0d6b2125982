import type { ServerResponse } from 'node:http'
import type { Runtime } from '#runtime'
import { apiLimits } from './limits.ts'
import { securityHeaders } from './refusal-headers.ts'
import type { StreamReply } from './route.ts'

/**
 * Sends the pieces as they are made, none before the socket took the one before it. Returns the status: 499 when the
 * reader left or took nothing for {@link apiLimits.stalledReaderMs}. What fails before the first piece is thrown with
 * nothing sent; what fails later is thrown with the connection cut.
 */
export async function writeStream(
  out: ServerResponse,
  { contentType, pieces, headers: more, abandon, status }: StreamReply,
  headers: readonly string[],
  runtime: Pick<Runtime, 'after'>,
): Promise<number> {
  const left = () => abandon?.()
  out.once('close', left)
  try {
    if (out.destroyed) left()
    let piece = await pieces.next()
    out.writeHead(status, [...headers, ...more, ...securityHeaders, 'content-type', contentType])
    while (!piece.done && out.req.method !== 'HEAD') {
      if (!out.destroyed && !out.write(piece.value)) await drained(out, runtime)
      if (out.destroyed) return 499
      piece = await pieces.next()
    }
    out.end()
    return status
  } catch (error) {
    if (out.destroyed && abandon) return 499
    if (out.headersSent) out.destroy()
    throw error
  } finally {
    out.off('close', left)
    await pieces.return(undefined)
  }
}

/** Resolves when the socket wants more, or is gone; a reader that does not read is cut. */
function drained(out: ServerResponse, runtime: Pick<Runtime, 'after'>): Promise<void> {
  const patienceMs = apiLimits.stalledReaderMs + (out.writableLength / apiLimits.readerBytesPerSecondMin) * 1_000
  return new Promise((resolve) => {
    const timer = runtime.after(patienceMs, () => out.destroy())
    const done = () => {
      timer.cancel()
      out.off('drain', done).off('close', done)
      resolve()
    }
    out.once('drain', done).once('close', done)
  })
}
