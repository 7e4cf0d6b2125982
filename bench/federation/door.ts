/**
 * Program: a pool's real door (HTTP server, receiver, nonces in PostgreSQL) with a hundred peers of each version, and plain Fastify beside
 * it. Told over IPC what to measure; ends when its parent does. The database has no fsync, as in the tests.
 */
import { readFileSync } from 'node:fs'
import Fastify from 'fastify'
import { Peers } from '#federation'
import type { PoolId } from '#protocol'
import { systemRuntime } from '#runtime'
import { openDatabase } from '#storage'
import { ApiDouble } from '../../src/testkit/api-double.ts'
import { FederatedPool } from '../../src/testkit/federated-pool.ts'
import { processTree } from '../../src/testkit/neighbourhood.ts'
import { signerOf, signersEach } from './signers.ts'

const pool = await FederatedPool.open('bench')
const { federation } = pool
// the network is what the header says, so that many networks can knock from one machine
const door = await ApiDouble.open({
  federation: {
    info: () => federation.info(),
    directory: (page) => federation.directory(page),
    answer: (request, _remote, forwarded) => federation.answer(request, forwarded ?? '127.0.0'),
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

process.on('message', async (wish: 'cpu' | 'revoke') => {
  const { user, system } = process.cpuUsage()
  process.send?.(wish === 'cpu' ? { poolUs: user + system, databaseUs: databaseUs() } : await revocation())
})
process.on('disconnect', async () => {
  await plain.close()
  await door[Symbol.asyncDispose]()
  await pool[Symbol.asyncDispose]()
})
process.send?.({ id: pool.id, door: door.port, plain: (plain.server.address() as { port: number }).port })
