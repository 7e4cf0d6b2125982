import { createServer, type Server } from 'node:http'
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net'
import { WebSocket, WebSocketServer } from 'ws'
import { generateDhKey, generateIdentity, type Identity } from '#crypto'
import { type PoolId, parsePoolId } from '#protocol'
import { systemRuntime } from '#runtime'
import {
  type Admission,
  type DialOptions,
  dialSession,
  type Peer,
  type SecureSession,
  WorkerDoor,
  type WorkerDoorOptions,
} from '#transport'
import { prologue } from '../transport/handshake-frames.ts'
import { NoiseHandshake } from '../transport/noise-handshake.ts'

export type TestAdmission = { ok: true; standing: string } | Extract<Admission, { ok: false }>
type DoorOptions = Partial<WorkerDoorOptions<TestAdmission>>

/** A pool's door on a free loopback port, letting everybody in unless told otherwise. */
export interface OpenDoor extends AsyncDisposable {
  readonly door: WorkerDoor<TestAdmission>
  readonly pool: Identity
  readonly poolId: PoolId
  readonly url: string
  readonly port: number
  /** Sessions so far, oldest first. */
  readonly sessions: SecureSession[]
  /** Who asked to come in. */
  readonly peers: Peer[]
  /** Codes of sockets that did not become a session. */
  readonly refusals: string[]
  /** Errors thrown by listeners. */
  readonly faults: unknown[]
  /** The next session that is let in. */
  nextSession(): Promise<SecureSession>
}

export async function openDoor(options: DoorOptions = {}): Promise<OpenDoor> {
  const pool = generateIdentity(systemRuntime)
  const sessions: SecureSession[] = []
  const peers: Peer[] = []
  const refusals: string[] = []
  const faults: unknown[] = []
  const waiting: ((session: SecureSession) => void)[] = []
  const door = new WorkerDoor<TestAdmission>({
    pool,
    staticKey: generateDhKey(systemRuntime),
    runtime: systemRuntime,
    onRefused: ({ code }) => refusals.push(code),
    onFault: (error) => faults.push(error),
    ...options,
    async admit(peer) {
      peers.push(peer)
      return (await options.admit?.(peer)) ?? { ok: true, standing: 'approved' }
    },
    onSession(session, admission) {
      sessions.push(session)
      options.onSession?.(session, admission)
      waiting.shift()?.(session)
    },
  })
  const server = createServer()
  door.attach(server)
  const port = await listen(server)
  const poolId = parsePoolId(pool.id)
  if (!poolId) throw new Error('an identity has a well-formed id')
  return {
    door,
    pool,
    poolId,
    port,
    url: `http://127.0.0.1:${port}`,
    sessions,
    peers,
    refusals,
    faults,
    nextSession: () => new Promise((resolve) => waiting.push(resolve)),
    async [Symbol.asyncDispose]() {
      door.close()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** A worker that knocks; `identity` is a new one unless given. */
export function knock(door: Pick<OpenDoor, 'url' | 'poolId'>, more: Partial<DialOptions> = {}): Promise<SecureSession> {
  return dialSession({
    url: door.url,
    poolId: door.poolId,
    identity: generateIdentity(systemRuntime),
    staticKey: generateDhKey(systemRuntime),
    runtime: systemRuntime,
    ...more,
  })
}

/** Both ends of one session. */
export async function joined(
  door: OpenDoor,
  more: Parameters<typeof knock>[1] = {},
): Promise<{ worker: SecureSession; pool: SecureSession }> {
  const next = door.nextSession()
  const worker = await knock(door, more)
  return { worker, pool: await next }
}

/** A socket that speaks WebSocket but not our protocol, opened. */
export async function strangerSocket(url: string, headers: Record<string, string> = {}): Promise<WebSocket> {
  const socket = new WebSocket(`${url.replace(/^http/, 'ws')}/v1/workers/session`, ['lichen.worker.1'], { headers })
  socket.on('error', () => {})
  await new Promise<void>((resolve, reject) => {
    socket.once('open', () => resolve())
    socket.once('unexpected-response', (request, response) => {
      request.destroy()
      reject(new Error(`HTTP ${response.statusCode}`))
    })
  })
  return socket
}

/**
 * A worker's socket after messages 1 and 2, with nothing of ours around it; `third` makes message 3, which is sent.
 * Resolves when that has happened.
 */
export async function knockByHand(
  door: Pick<OpenDoor, 'url' | 'poolId'>,
  third: (noise: NoiseHandshake) => Buffer,
): Promise<WebSocket> {
  const socket = await strangerSocket(door.url)
  const noise = new NoiseHandshake({
    initiator: true,
    prologue: prologue(door.poolId),
    staticKey: generateDhKey(systemRuntime),
    ephemeralKey: generateDhKey(systemRuntime),
  })
  const second = new Promise<Buffer>((resolve) => socket.once('message', resolve))
  socket.send(noise.write(() => Buffer.alloc(0)))
  noise.read(await second)
  socket.send(third(noise))
  return socket
}

/** How a socket ends. */
export function ending(socket: WebSocket): Promise<{ code: number; reason: string }> {
  return new Promise((resolve) => socket.once('close', (code, reason) => resolve({ code, reason: reason.toString() })))
}

/** How a session ends. */
export function sessionEnd(session: SecureSession): Promise<{ code: number; reason: string }> {
  return new Promise((resolve) => {
    session.onClose = resolve
  })
}

export interface Relay extends AsyncDisposable {
  readonly url: string
  /** Every byte that passed, both directions. */
  seen(): Buffer
  /** Stops reading what the pool sends, as a worker does that hangs. */
  hold(): void
  release(): void
}

/** A TCP relay between worker and pool that sees, and may change, every byte: what a TLS-terminating proxy is. */
export async function relay(
  targetPort: number,
  change: (chunk: Buffer, from: 'worker' | 'pool') => Buffer = (chunk) => chunk,
): Promise<Relay> {
  const passed: Buffer[] = []
  const sockets = new Set<Socket>()
  const fromPool = new Set<Socket>()
  const forward = (from: Socket, to: Socket, side: 'worker' | 'pool') => {
    sockets.add(from)
    from.on('data', (chunk: Buffer) => {
      passed.push(chunk)
      to.write(change(chunk, side))
    })
    from.on('end', () => to.end())
    from.on('close', () => to.destroySoon())
    from.on('error', () => to.destroy())
  }
  const server = createTcpServer((worker) => {
    const pool = connect(targetPort, '127.0.0.1')
    fromPool.add(pool)
    forward(worker, pool, 'worker')
    forward(pool, worker, 'pool')
  })
  const port = await listen(server)
  return {
    url: `http://127.0.0.1:${port}`,
    seen: () => Buffer.concat(passed),
    hold: () => {
      for (const socket of fromPool) socket.pause()
    },
    release: () => {
      for (const socket of fromPool) socket.resume()
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** A WebSocket server of somebody's own making on a free loopback port. */
export async function impostor(answer: (socket: WebSocket) => void): Promise<AsyncDisposable & { url: string }> {
  const server = createServer()
  const webSockets = new WebSocketServer({ server, handleProtocols: () => 'lichen.worker.1' })
  webSockets.on('connection', answer)
  const port = await listen(server)
  return {
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of webSockets.clients) socket.terminate()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function listen(server: Server | ReturnType<typeof createTcpServer>): Promise<number> {
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port))
  })
}
