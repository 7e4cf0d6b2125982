/**
 * `npm run bench:compare -- --with ../other-checkout`: CPU per request of two checkouts of this repository, under load at the same time.
 *
 * Taking turns, two pools on a machine that others use differ by a tenth and more for no reason. Side by side on one core they share
 * whatever happens: the same checkout twice came out within 2 % in runs of a minute at a load of 23 on two cores.
 */
import path from 'node:path'
import { parseArgs } from 'node:util'
import { assertEqualWork, type Contender, cpuOf, endAll, startLichen, startLoad } from './stage.ts'

const root = path.resolve(import.meta.dirname, '../..')
const { values: options } = parseArgs({
  options: {
    with: { type: 'string', default: root },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '10' },
    warm: { type: 'string', default: '30' },
    connections: { type: 'string', default: '64' },
    stream: { type: 'boolean', default: false },
    'token-ms': { type: 'string', default: '0' },
  },
})

interface Side {
  readonly pool: Contender
  readonly apply: ReturnType<typeof startLoad>
  readonly cpuUs: number[]
  requests: number
  cpuSeconds: number
}

async function open(checkout: string, name: string): Promise<Side> {
  const pool = await startLichen(path.resolve(checkout), name, Number(options['token-ms']))
  return { pool, apply: startLoad(), cpuUs: [], requests: 0, cpuSeconds: 0 }
}

async function load({ pool, apply }: Side, seconds: number) {
  const result = await apply(pool, { stream: options.stream, connections: Number(options.connections), seconds })
  assertEqualWork(pool, result)
  return result
}

async function measure(side: Side): Promise<void> {
  const before = cpuOf(side.pool.pid)
  const { requests } = await load(side, Number(options.seconds))
  const used = cpuOf(side.pool.pid) - before
  side.requests += requests
  side.cpuSeconds += used
  side.cpuUs.push(Math.round((used * 1e6) / requests))
}

const meanUs = ({ cpuSeconds, requests }: Side) => (cpuSeconds * 1e6) / requests

try {
  const here = await open(root, 'here')
  const there = await open(options.with, 'there')
  const both = [here, there]
  await Promise.all(both.map((side) => load(side, Number(options.warm))))
  for (let round = 0; round < Number(options.rounds); round++) await Promise.all(both.map(measure))
  console.table(
    both.map((side) => ({
      checkout: side === here ? root : path.resolve(options.with),
      requests: side.requests,
      meanUs: Math.round(meanUs(side)),
      roundsUs: side.cpuUs.join(' '),
      ofThere: Number((meanUs(side) / meanUs(there)).toFixed(3)),
    })),
  )
} catch (error) {
  console.error(error)
  process.exitCode = 1
} finally {
  await endAll()
}
