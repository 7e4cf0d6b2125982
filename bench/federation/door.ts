/**
 * Program: a pool's real door (HTTP server, kill switch with its files and its row, networks by a trusted proxy's word, receiver, nonces in
 * PostgreSQL) with a hundred peers of each version, and plain Fastify beside it. Told over IPC what to measure; ends when its parent does.
 * The database has no fsync, as in the tests.
 */
import { readFileSync } from 'node:fs'
import Fastify from 'fastify'
import type { Origin } from '#api'
import { AdminRequests, type KillSwitch, Peers, Toggles } from '#federation'
import type { PoolId } from '#protocol'
import { systemRuntime } from '#runtime'
import { openDatabase } from '#storage'
import { clientAddress, parseTrustedProxies, sourceGroup } from '#transport'
import { KillSwitchFiles, killSwitchFilesOf } from '../../src/bin/kill-switch-files.ts'
import { ApiDouble } from '../../src/testkit/api-double.ts'
import { FederatedPool } from '../../src/testkit/federated-pool.ts'
import { processTree } from '../../src/testkit/neighbourhood.ts'
import { temporaryFolder } from '../../src/testkit/temporary-folder.ts'
import { besieged, revokedSigner, signerOf, signersEach } from './signers.ts'

const late: { toggles?: Toggles } = {}
const toggles = () => late.toggles as Toggles
const killSwitch: KillSwitch = {
  whyOff: () => toggles().whyOff(),
  register: (abort) => toggles().register(abort),
}
const pool = await FederatedPool.open('bench', { killSwitch })
const { federation } = pool
const data = temporaryFolder()
const files = new KillSwitchFiles(killSwitchFilesOf({ data: data.path, federationKillFiles: [] }), systemRuntime)
late.toggles = await Toggles.open({
  database: pool.db.database,
  runtime: systemRuntime,
  filesThere: () => files.there(),
  whyNoWrite: async () => undefined,
  onFlip: () => {},
  onProblem: (error) => console.error(error),
})
const requests = new AdminRequests({
  database: pool.db.database,
  runtime: systemRuntime,
  poolId: pool.id,
  peers: federation.peers,
  toggles: toggles(),
  quorum: 1,
  v1Writers: [],
  adminKeys: async () => new Map(),
  events: async () => [],
  pendingSlashes: async () => [],
  reset: async () => ({}),
  send: async () => ({ ok: false, code: 'unreachable', message: 'nobody is asked here' }),
  onEvent: () => {},
  onProblem: (error) => console.error(error),
})
for (const [path, route] of Object.entries(requests.routes)) federation.serve(path, route)
// a proxy that is believed says which network it is, so that many networks can knock from one machine
const trusted = parseTrustedProxies(['127.0.0.1'])
const networkOf = ({ remoteAddress, forwardedFor }: Origin) =>
  sourceGroup(clientAddress(remoteAddress, forwardedFor, trusted))
const door = await ApiDouble.open({
  federation: {
    info: () => federation.info(),
    directory: (page) => federation.directory(page),
    turnAway: ({ head, bodyBytes, ...origin }) => federation.turnAway(head, bodyBytes, networkOf(origin)),
    answer: (request, origin) => federation.answer(request, networkOf(origin)),
  },
})
const plain = Fastify({ logger: false })
const same = {
  ok: true,
  echo_challenge_b64: 'A'.repeat(44),
  signed_response_b64: 'A'.repeat(88),
  self_atom_id: pool.id,
}
plain.all('/*', async () => same)
await plain.listen({ port: 0, host: '127.0.0.1' })
const said = { name: 'peer', url: 'https://peer.example', moleculeId: '', capabilities: [] }
for (const version of [1, 2] as const)
  for (let n = 0; n < signersEach; n++) {
    const { id, publicKey } = signerOf(version, n)
    await federation.peers.introduce(id as PoolId, publicKey, said)
  }
for (const { id, publicKey } of [besieged, revokedSigner])
  await federation.peers.introduce(id as PoolId, publicKey, said)
await federation.office.revoke(revokedSigner.id, 'owner.key')

/** Microseconds that the database has used, in steps of 10 ms. */
function databaseUs(): number {
  const others = processTree(process.pid).filter((pid) => pid !== process.pid)
  return others.reduce((sum, pid) => {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
      const [user = 0, system = 0] = stat
        .slice(stat.lastIndexOf(')') + 2)
        .split(' ')
        .slice(11, 13)
        .map(Number)
      return sum + (user + system) * 10_000
    } catch {
      return sum
    }
  }, 0)
}

/** Milliseconds from the human's word to the end of a stream that runs, here and as another process of the pool hears it. */
async function revocation(): Promise<{ streamMs: number; elsewhereMs: number }> {
  await using other = await FederatedPool.open('other')
  await other.federation.office.add(pool.url)
  await federation.office.promote(other.id, 2, 'owner.key')
  await using second = await openDatabase({ target: pool.db.target, runtime: systemRuntime })
  using elsewhere = await Peers.open(second, systemRuntime, () => {})
  const heard = new Promise<number>((resolve) => elsewhere.whileTrusted(other.id, () => resolve(performance.now())))
  const opened = await other.federation.outbound.open(pool.as(2), {
    method: 'POST',
    target: '/v1/federation/job',
    hop: 1,
    chain: [other.id],
    body: { origin_pool_id: other.id },
    msMax: 60_000,
  })
  if (!opened.ok) throw new Error(opened.message)
  await opened.pieces.next()
  const ended = (async () => {
    try {
      for await (const _ of opened.pieces);
    } catch {}
    return performance.now()
  })()
  const since = performance.now()
  await federation.office.revoke(other.id, 'owner.key')
  return { streamMs: (await ended) - since, elsewhereMs: (await heard) - since }
}

async function* endless(): AsyncGenerator<Buffer, void> {
  for (;;) {
    yield Buffer.from('data: {"tokens":[[1,"YQ=="]]}\n\n')
    await systemRuntime.sleep(20)
  }
}
federation.serve('/v1/federation/job', {
  trustMin: 2,
  bucket: 'jobs',
  reply: () => ({ contentType: 'text/event-stream', pieces: endless() }),
})

/** What asking has cost so far: it is no part of what is measured. */
let askingUs = 0
function cpu(): { poolUs: number; databaseUs: number } {
  const before = process.cpuUsage()
  const used = { poolUs: before.user + before.system - askingUs, databaseUs: databaseUs() }
  const { user, system } = process.cpuUsage(before)
  askingUs += user + system
  return used
}

process.on('message', async (wish: 'cpu' | 'revoke') => {
  process.send?.(wish === 'cpu' ? cpu() : await revocation())
})
process.on('disconnect', async () => {
  await plain.close()
  await door[Symbol.asyncDispose]()
  await requests[Symbol.asyncDispose]()
  toggles()[Symbol.dispose]()
  data[Symbol.dispose]()
  await pool[Symbol.asyncDispose]()
})
process.send?.({ id: pool.id, door: door.port, plain: (plain.server.address() as { port: number }).port })
