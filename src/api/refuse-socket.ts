import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { hangUp } from '#transport'
import { toSocketRefusal } from './to-refusal.ts'

/**
 * Answers a connection whose bytes never became a request (malformed, too large, too slow), and closes it. A response
 * that is already under way on it is not written into.
 */
export function refuseSocket(error: Error & { code?: string }, socket: Socket): void {
  // Node keeps the response of the running request here; its own default handler reads it for the same reason.
  const { _httpMessage: running } = socket as Socket & { _httpMessage?: ServerResponse | null }
  if (error.code === 'ECONNRESET' || !socket.writable || running?.headersSent) socket.destroy()
  else hangUp(socket, toSocketRefusal(error.code))
}
