import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** What node:http keeps on a socket: the response that is being written. */
type HttpSocket = Socket & { readonly _httpMessage?: ServerResponse | null }

/**
 * Cuts a connection that has more than `max` requests waiting behind an unanswered one: each would hold its answer in
 * memory until the client reads, and node:http parses on. Only pipelined requests are counted; others pay nothing.
 */
export function limitPipelining(server: Pick<Server, 'prependListener'>, max: number): void {
  const waiting = new WeakMap<Socket, number>()
  server.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
    const socket: HttpSocket = request.socket
    if (!socket._httpMessage || socket._httpMessage === response) return
    const count = (waiting.get(socket) ?? 0) + 1
    if (count > max) {
      socket.destroy()
      return
    }
    waiting.set(socket, count)
    response.once('close', () => waiting.set(socket, (waiting.get(socket) ?? 1) - 1))
  })
}
