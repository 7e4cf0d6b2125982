import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { type Refusal, refusalCodes, toOpenAiError } from '#protocol'

/** Answers a connection outside any request and response of node:http with HTTP and OpenAI's envelope, and closes it. */
export function hangUp(socket: Duplex, refusal: Refusal): void {
  const body = JSON.stringify(toOpenAiError(refusal))
  const { status } = refusalCodes[refusal.code]
  const { retryAfterMs } = refusal
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'connection: close',
    'content-type: application/json; charset=utf-8',
    'x-content-type-options: nosniff',
    'cache-control: no-store',
    `content-length: ${Buffer.byteLength(body)}`,
    ...(retryAfterMs === undefined ? [] : [`retry-after: ${Math.ceil(retryAfterMs / 1_000)}`]),
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy())
}
