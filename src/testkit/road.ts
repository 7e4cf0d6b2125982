import { once } from 'node:events'
import net from 'node:net'

/** The way from one pool to another: a TCP proxy on loopback that can be cut in the middle of everything. */
export class Road implements AsyncDisposable {
  readonly url: string
  readonly #server: net.Server
  readonly #sockets = new Set<net.Socket>()
  #isCut = false

  private constructor(server: net.Server) {
    this.#server = server
    this.url = `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`
  }

  /** `target` is asked for each connection: the pool may be on another port after a new start, or on none yet. */
  static async open(target: () => number): Promise<Road> {
    const server = net.createServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const road = new Road(server)
    server.on('connection', (from) => road.#join(from, target()))
    return road
  }

  /** Ends what is under way; whoever knocks is hung up on. */
  cut(): void {
    this.#isCut = true
    for (const socket of this.#sockets) socket.destroy()
  }

  mend(): void {
    this.#isCut = false
  }

  #join(from: net.Socket, port: number): void {
    if (this.#isCut) {
      from.destroy()
      return
    }
    const to = net.connect(port, '127.0.0.1')
    for (const [one, other] of [
      [from, to],
      [to, from],
    ] as const) {
      this.#sockets.add(one)
      one.on('error', () => other.destroy())
      one.on('close', () => {
        this.#sockets.delete(one)
        other.destroy()
      })
      one.pipe(other)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut()
    this.#server.close()
  }
}
