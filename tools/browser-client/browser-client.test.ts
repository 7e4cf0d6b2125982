import { Buffer as NodeBuffer } from 'node:buffer'
import nodeCrypto from 'node:crypto'
import vm from 'node:vm'
import fc from 'fast-check'
import { beforeAll, expect, test } from 'vitest'
import type * as Client from '../../src/client/index.ts'
import { OrderPool } from '../../src/testkit/order-pool.ts'
import { alice, bob, pool, sampleReceipt, sampleResponse } from '../../src/testkit/receipt-sample.ts'
import { Buffer as BrowserBuffer } from './buffer.ts'
import { buildBrowserClient } from './build.mjs'
import * as shim from './node-modules.ts'

/** What a page has, and this bundle may use; there is no `process`, no `Buffer`, no `require`. */
const page = { atob, btoa, crypto, fetch, Headers, performance, Request, Response, TextDecoder, TextEncoder, URL }

let client: typeof Client

beforeAll(async () => {
  const { outputFiles } = await buildBrowserClient({ write: false, format: 'iife', globalName: 'client' })
  const context = vm.createContext({ ...page })
  vm.runInContext(outputFiles[0]?.text ?? '', context)
  client = (context as unknown as { client: typeof Client }).client
})

test('a page verifies a receipt, and sees what does not fit', () => {
  const receipt = new Uint8Array(sampleReceipt())
  const good = client.verifyReceipt(receipt, { response: new Uint8Array(sampleResponse), poolKey: pool.publicKey })
  expect(good.problem).toBeUndefined()
  expect(good.lines).toHaveLength(7)
  expect(client.verifyReceipt(new TextDecoder().decode(receipt), { poolId: pool.id }).ok).toBe(true)
  expect(client.verifyReceipt(receipt, { response: '{}' }).problem?.code).toBe('response_mismatch')
  expect(client.verifyReceipt(receipt, { poolId: bob.id }).problem?.code).toBe('wrong_pool')
  for (let at = 0; at < receipt.length; at += 97) {
    const edited = receipt.slice()
    edited[at] = (edited[at] ?? 0) ^ 1
    expect(client.verifyReceipt(edited).ok, `byte ${at}`).toBe(false)
  }
})

test('a page pays with a key of its own', async () => {
  await using pool = await OrderPool.open()
  const seed = alice.seed.toString('base64url')
  const pay = client.createClient({ poolUrl: pool.url, apiKey: 'sk', payerKey: seed })
  const body = JSON.stringify({ model: 'demo', messages: [{ role: 'user', content: '2+3=' }] })
  const answer = await pay(`${pool.url}/v1/chat/completions`, { method: 'POST', body })
  expect(await answer.json()).toMatchObject({ choices: [{ message: { content: '5' } }] })
  expect(pool.orders).toMatchObject([{ custody: 'payer', account: 'user:alice' }])
})

const ascii = (text: string) => text.replace(/[^ -~]/g, '')
const encodings = ['utf8', 'latin1', 'hex', 'base64', 'base64url'] as const

test("bytes are text, and text is bytes, as with Node's Buffer", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), fc.string({ unit: 'binary', maxLength: 40 }), (bytes, text) => {
      const [ours, nodes] = [BrowserBuffer.from(bytes), NodeBuffer.from(bytes)]
      for (const encoding of encodings) {
        expect(ours.toString(encoding)).toBe(nodes.toString(encoding))
        const shown = nodes.toString(encoding)
        expect([...BrowserBuffer.from(shown, encoding)]).toEqual([...NodeBuffer.from(shown, encoding)])
      }
      for (const [some, encoding] of [
        [text, 'utf8'],
        [ascii(text), 'hex'],
        [ascii(text), 'base64url'],
      ] as const) {
        expect([...BrowserBuffer.from(some, encoding)]).toEqual([...NodeBuffer.from(some, encoding)])
      }
      expect([...BrowserBuffer.concat([ours, ours])]).toEqual([...NodeBuffer.concat([nodes, nodes])])
    }),
    { numRuns: 30 },
  )
})

test("numbers lie in memory as with Node's Buffer", () => {
  fc.assert(
    fc.property(fc.bigInt(0n, 2n ** 64n - 1n), fc.nat(2 ** 48 - 1), (big, number) => {
      const [ours, nodes] = [BrowserBuffer.alloc(32, 7), NodeBuffer.alloc(32, 7)]
      for (const bytes of [ours, nodes]) {
        bytes.writeBigUInt64BE(big, 1)
        bytes.writeUIntBE(number, 9, 6)
        bytes.writeUInt32BE(number % 2 ** 32, 15)
        bytes.write('ä', 20)
        bytes.write('äö', 23, 'latin1')
      }
      expect([...ours]).toEqual([...nodes])
      expect(ours.readBigUInt64BE(3)).toBe(nodes.readBigUInt64BE(3))
      expect(ours.readUIntBE(9, 6)).toBe(number)
      expect(ours.compare(ours.subarray(1))).toBe(nodes.compare(nodes.subarray(1)))
    }),
  )
})

test('hashes and signatures are those of Node, also the ones it refuses', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(63), fc.nat(7), (bytes, at, bit) => {
      const [message, key] = [BrowserBuffer.from(bytes), nodeCrypto.createPrivateKey(pem(alice.seed))]
      expect(shim.hash('sha256', bytes, 'binary')).toBe(nodeCrypto.hash('sha256', bytes, 'binary'))
      expect(shim.createHmac('sha256', bytes).update(bytes).digest().toString('hex')).toBe(
        nodeCrypto.createHmac('sha256', bytes).update(bytes).digest('hex'),
      )
      const signature = shim.sign(null, message, shim.createPrivateKey({ key: pem(alice.seed).key }))
      expect([...signature]).toEqual([...nodeCrypto.sign(null, bytes, key)])
      const handle = shim.createPublicKey({ key: { x: alice.publicKey.toString('base64url') } })
      expect(shim.verify(null, message, handle, signature)).toBe(true)
      signature[at] = (signature[at] ?? 0) ^ (1 << bit)
      expect(shim.verify(null, message, handle, signature)).toBe(false)
    }),
    { numRuns: 30 },
  )
})

test('a signature that only fits times the cofactor is refused, as OpenSSL does', () => {
  // R is of order 8 and the key a plain one: 8·S·B = 8·(R + k·A) holds for S = k·a, S·B = R + k·A does not.
  const { publicKey, seed } = alice
  const smallOrder = NodeBuffer.from('26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05', 'hex')
  const message = NodeBuffer.from('mixed')
  const order = 2n ** 252n + 27742317777372353535851937790883648493n
  const number = (bytes: Uint8Array) => BigInt(`0x${NodeBuffer.from(bytes).reverse().toString('hex')}`)
  const scalar = nodeCrypto.createHash('sha512').update(seed).digest().subarray(0, 32)
  scalar[0] = (scalar[0] ?? 0) & 248
  scalar[31] = ((scalar[31] ?? 0) & 127) | 64
  const k = number(nodeCrypto.createHash('sha512').update(smallOrder).update(publicKey).update(message).digest())
  const s = NodeBuffer.from(((k * number(scalar)) % order).toString(16).padStart(64, '0'), 'hex').reverse()
  const signature = NodeBuffer.concat([smallOrder, s])
  const x = publicKey.toString('base64url')
  const nodes = nodeCrypto.createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
  expect(nodeCrypto.verify(null, message, nodes, signature)).toBe(false)
  expect(shim.verify(null, message, shim.createPublicKey({ key: { x } }), signature)).toBe(false)
})

/** A seed as the DER that `createPrivateKey` reads. */
function pem(seed: Uint8Array) {
  const key = NodeBuffer.concat([NodeBuffer.from('302e020100300506032b657004220420', 'hex'), seed])
  return { key, format: 'der', type: 'pkcs8' } as const
}
