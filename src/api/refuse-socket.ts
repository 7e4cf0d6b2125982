import { type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { refusalCodes, toOpenAiError } from '#protocol'
import { toSocketRefusal } from './to-refusal.ts'

/**
 * Answers a connection whose bytes never became a request (malformed, too large, too slow), and closes it. A response
 * that is already under way on it is not written into.
 */
export function refuseSocket(error: Error & { code?: string }, socket: Socket): void {
  // Node keeps the response of the running request here; its own default handler reads it for the same reason.
  const { _httpMessage: running } = socket as Socket & { _httpMessage?: ServerResponse | null }
  if (error.code === 'ECONNRESET' || !socket.writable || running?.headersSent) {
    socket.destroy()
    return
  }
  const refusal = toSocketRefusal(error.code)
  const { status } = refusalCodes[refusal.code]
  const body = JSON.stringify(toOpenAiError(refusal))
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nconnection: close\r\ncontent-type: application/json; charset=utf-8\r\n` +
      `x-content-type-options: nosniff\r\ncache-control: no-store\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    () => socket.destroy(),
  )
}
