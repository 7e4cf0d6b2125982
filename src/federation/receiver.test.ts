import { expect, test } from 'vitest'
import { generateIdentity, type Identity } from '#crypto'
import type { PoolId } from '#protocol'
import { systemRuntime } from '#runtime'
import { signEnvelope } from './envelope.ts'
import { federationLimits } from './limits.ts'
import type { Peer, Peers } from './peers.ts'
import { Receiver } from './receiver.ts'
import { handshakePath } from './verify-envelope.ts'

type Key = Identity & { readonly id: PoolId }
const newKey = () => generateIdentity(systemRuntime) as Key
const [self, newcomer, known, forger] = [newKey(), newKey(), newKey(), newKey()]
const peer = { id: known.id, key: known.publicKey, trust: 1, revoked: false, spokeV2: true } as unknown as Peer

function door() {
  let at = 1_800_000_000_000
  const runtime = { ...systemRuntime, now: () => at, monotonic: () => at }
  const peers = { get: (id: PoolId) => (id === known.id ? peer : undefined) } as Peers
  const receiver = new Receiver(self.id, runtime, peers)
  /** A handshake to whom it may concern. */
  const handshake = (from: Key, audience: PoolId, pad = 0) => {
    const said = { atom_id: from.id, pubkey_hex: from.publicKey.toString('hex'), pad: ' '.repeat(pad) }
    const [method, target, contentType] = ['POST', handshakePath, 'application/json']
    const body = Buffer.from(JSON.stringify(said))
    const stamp = { timestamp: Math.floor(at / 1_000), nonce: systemRuntime.randomBytes(8).toString('hex') }
    const { headers } = signEnvelope(from, { version: 2, audience, method, target, contentType, body, ...stamp })
    return { method, target, headers: Object.entries({ ...headers, 'content-type': contentType }).flat(), body }
  }
  /** From each of so many networks, every second of two minutes, a handshake whose signature does not hold; `eachSecond` after each round. */
  const flood = (networks: number, pad: number, eachSecond: () => void) => {
    for (let second = 0; second < 120; second++, at += 1_000) {
      const forged = handshake(forger, known.id, pad)
      for (let n = 0; n < networks; n++) receiver.receive(forged, `network ${n}`)
      eachSecond()
    }
  }
  const hears = (from: Key, network: string) => !('error' in receiver.receive(handshake(from, self.id), network))
  return { flood, hears }
}

const longest = federationLimits.bodyBytesMax - 1_000

test.each([0, longest])(
  'newcomers are heard while twenty networks forge handshakes with %d bytes more, as fast as they are let',
  (pad) => {
    const { flood, hears } = door()
    let seconds = 0
    flood(20, pad, () => {
      if (++seconds % 10 === 0) expect(hears(newcomer, 'honest')).toBe(true)
    })
  },
)

test('strangers from however many networks shut out newcomers at last, and never a pool that is known', () => {
  const { flood, hears } = door()
  let seconds = 0
  const newcomers: boolean[] = []
  flood(200, 0, () => {
    if (++seconds % 10 !== 0) return
    newcomers.push(hears(newcomer, 'honest'))
    expect(hears(known, `moved ${seconds}`)).toBe(true)
  })
  expect(newcomers).toContain(false)
})
