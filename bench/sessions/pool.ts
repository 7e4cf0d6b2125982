/** The measured process: a pool's door and its table of workers, nothing else. Speaks to its parent over IPC. */
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { dhKeyFromSeed, identityFromSeed } from '#crypto'
import { systemRuntime } from '#runtime'
import { WorkerDoor } from '#transport'
import { type Admission, Workers } from '#workers'

/** What the pool is asked: how many are there, or that and what they cost after a collection of garbage. */
export type PoolQuestion = 'count' | 'usage'
export type PoolAnswer =
  | { readonly listening: number }
  | {
      readonly available: number
      readonly cpuMs: number
      readonly rssBytes: number
      readonly loopDelayMsMax: number
      /** Sockets that did not become a session, by code. */
      readonly refused: Readonly<Record<string, number>>
    }

const [port = '0', keysKnown = 'no'] = process.argv.slice(2)
const workers = new Workers({ runtime: systemRuntime })
const admission: { ok: true } & Admission = { ok: true, standing: 'approved', expiresAt: null, operator: 'bench' }
const refused: Record<string, number> = {}
const door = new WorkerDoor<typeof admission>({
  pool: identityFromSeed(Buffer.alloc(32, 1)),
  staticKey: dhKeyFromSeed(Buffer.alloc(32, 2)),
  runtime: systemRuntime,
  admit: async () => admission,
  isKnownKey: () => keysKnown === 'yes',
  onSession: (session, admitted) => workers.attach(session, admitted),
  onRefused: ({ code }) => {
    refused[code] = (refused[code] ?? 0) + 1
  },
})
const delay = monitorEventLoopDelay({ resolution: 10 })
delay.enable()

const server = http.createServer()
door.attach(server)
server.listen({ port: Number(port), host: '127.0.0.1', backlog: 4_096 }, () => {
  process.send?.({ listening: (server.address() as AddressInfo).port } satisfies PoolAnswer)
})

process.on('message', (question: PoolQuestion) => {
  if (question === 'usage') globalThis.gc?.()
  const { user, system } = process.cpuUsage()
  const available = workers.list().filter((worker) => worker.standing === 'approved').length
  const answer: PoolAnswer = {
    available,
    cpuMs: (user + system) / 1_000,
    rssBytes: process.memoryUsage.rss(),
    loopDelayMsMax: Math.round(delay.max / 1e6),
    refused,
  }
  delay.reset()
  process.send?.(answer)
})
process.on('disconnect', () => process.exit())
