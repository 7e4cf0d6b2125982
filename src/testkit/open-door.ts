import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { generateDhKey, generateIdentity, type Identity } from '#crypto'
import type { PoolId, Refusal, WorkerId } from '#protocol'
import { type Runtime, systemRuntime } from '#runtime'
import { type SessionPeer, WorkerDoor, type WorkerDoorOptions } from '#transport'
import { type Admission, Workers, type WorkersListener } from '#workers'

type Answer = ({ ok: true } & Admission) | { ok: false; refusal: Refusal }

export interface OpenDoorOptions extends WorkersListener {
  /** What identity would say; everybody is approved unless told otherwise. */
  readonly admit?: (peer: { id: WorkerId; token?: Buffer }) => Answer
  readonly pool?: Identity
  readonly port?: number
  readonly runtime?: Runtime
  readonly limits?: WorkerDoorOptions<Answer>['limits']
}

/** The workers' side of a pool on a loopback port: real sockets, real handshakes, no database. */
export interface OpenDoor extends AsyncDisposable {
  readonly url: string
  readonly port: number
  readonly pool: Identity
  readonly poolId: PoolId
  readonly workers: Workers
  readonly peers: SessionPeer[]
}

const everybody = (): Answer => ({ ok: true, standing: 'approved', expiresAt: null, operator: 'test' })

export async function openDoor(options: OpenDoorOptions = {}): Promise<OpenDoor> {
  const { admit = everybody, runtime = systemRuntime, pool = generateIdentity(runtime), limits } = options
  const workers = new Workers({ ...options, runtime })
  const peers: SessionPeer[] = []
  const door = new WorkerDoor<Answer>({
    pool,
    staticKey: generateDhKey(runtime),
    runtime,
    admit: async (peer) => admit(peer),
    onSession: (session, admission) => {
      peers.push(session.peer)
      workers.attach(session, admission)
    },
    ...(limits ? { limits } : {}),
  })
  const server = http.createServer()
  door.attach(server)
  await new Promise<void>((resolve) => server.listen(options.port ?? 0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    pool,
    poolId: pool.id as PoolId,
    workers,
    peers,
    async [Symbol.asyncDispose]() {
      workers.close()
      door.close()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
