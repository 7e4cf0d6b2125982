/** Many workers in one process: each dials a real session, greets, answers pings, and dials again when it is lost. */
import { generateDhKey, generateIdentity, identityFromSeed } from '#crypto'
import { messageType, PoolError, type PoolId } from '#protocol'
import { systemRuntime } from '#runtime'
import { dialSession, type SecureSession } from '#transport'
import { encodeHeartbeat, encodeHello } from '#workers'
import { Backoff } from '../../src/agent/backoff.ts'

/** What the fleet answers whatever it is asked. */
export interface FleetAnswer {
  readonly cpuMs: number
}

const [url = '', count = '0', dialsAtOnce = '64'] = process.argv.slice(2)
const poolId = identityFromSeed(Buffer.alloc(32, 1)).id as PoolId
const hello = encodeHello({
  agent: 'bench/1',
  features: [],
  slots: 4,
  models: [{ name: 'demo', digest: 'ab'.repeat(32), engine: 'llama', contextTokens: 2_048, features: ['chat'] }],
})
const heartbeat = encodeHeartbeat(0)

/** First connection of the fleet: a few at a time, so that the memory figure is of sessions and not of a crowd. */
const turns: (() => void)[] = []
let free = Number(dialsAtOnce)
async function inTurn(): Promise<void> {
  if (free > 0) free--
  else await new Promise<void>((resolve) => turns.push(resolve))
}
function done(): void {
  const next = turns.shift()
  if (next) next()
  else free++
}

/** Resolves when the session has ended. */
function serve(session: SecureSession, welcomed: () => void): Promise<void> {
  return new Promise((resolve) => {
    session.onClose = () => resolve()
    session.send(messageType.hello, hello)
    session.onMessage = (type) => {
      if (type === messageType.ping) session.send(messageType.heartbeat, heartbeat)
      else if (type === messageType.welcome) welcomed()
    }
  })
}

async function live(): Promise<never> {
  const keys = { identity: generateIdentity(systemRuntime), staticKey: generateDhKey(systemRuntime) }
  const backoff = new Backoff(systemRuntime)
  await inTurn()
  let waited = false
  for (;;) {
    let retryAfterMs: number | undefined
    try {
      const session = await dialSession({ url, poolId, ...keys, runtime: systemRuntime })
      await serve(session, () => {
        backoff.reset()
        if (!waited) done()
        waited = true
      })
    } catch (error) {
      retryAfterMs = error instanceof PoolError ? error.refusal.retryAfterMs : undefined
    }
    await systemRuntime.sleep(backoff.next(retryAfterMs))
  }
}

for (let i = 0; i < Number(count); i++) void live()
process.on('message', () => {
  const { user, system } = process.cpuUsage()
  process.send?.({ cpuMs: (user + system) / 1_000 } satisfies FleetAnswer)
})
process.on('disconnect', () => process.exit())
