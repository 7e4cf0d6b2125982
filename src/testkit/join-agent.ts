import { runAgent } from '#agent'
import type { Engine } from '#engines'
import { encodeInvite } from '#identity'
import type { WorkerId } from '#protocol'
import { systemRuntime } from '#runtime'
import { eventually } from './neighbourhood.ts'
import type { OpenDoor } from './open-door.ts'
import { temporaryFolder } from './temporary-folder.ts'

/** A worker that came to an open door. */
export interface JoinedAgent {
  readonly id: WorkerId
  /** It stops at once, as if it was killed; its engine is closed, its folder gone. A second call waits for the first. */
  leave(): Promise<void>
}

/**
 * All of a worker but its program: the real agent with keys of its own, over real sockets. `operator` is the byte of which its invite's token
 * consists, by which a test's door knows whose it is.
 */
export async function joinAgent(door: OpenDoor, engine: Engine, operator = 7): Promise<JoinedAgent> {
  const folder = temporaryFolder()
  const now = new AbortController()
  const known = new Set(door.workers.list().map(({ id }) => id))
  const life = runAgent({
    invite: encodeInvite({ url: door.url, poolId: door.poolId, token: Buffer.alloc(32, operator) }),
    dataDir: folder.path,
    engines: [engine],
    agent: 'lichen/test',
    runtime: systemRuntime,
    log: { info() {}, warn() {} },
    signal: new AbortController().signal,
    stopNow: now.signal,
  })
  let left: Promise<void> | undefined
  const leave = () => {
    left ??= (async () => {
      now.abort()
      await life
      await engine[Symbol.asyncDispose]()
      folder[Symbol.dispose]()
    })()
    return left
  }
  try {
    const { id } = await eventually('a worker', () => door.workers.list().find((one) => !known.has(one.id)))
    return { id, leave }
  } catch (error) {
    await leave()
    throw error
  }
}
