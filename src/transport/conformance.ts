import { z } from 'zod'
import { dhKeyFromSeed } from '#crypto'
import { type ConformanceOp, conformanceOp, hexSchema, type OpResult, refused } from '#protocol'
import { NoiseError, NoiseHandshake, type NoiseKeys } from './noise-handshake.ts'

const privateKeySchema = hexSchema.refine((key) => key.length === 32, 'an X25519 private key has 32 bytes')
const handshakeSchema = z.strictObject({
  prologue: hexSchema,
  init_static: privateKeySchema,
  init_ephemeral: privateKeySchema,
  resp_static: privateKeySchema,
  resp_ephemeral: privateKeySchema,
  payloads: z.array(hexSchema).min(3).max(64),
})
type HandshakeInput = z.infer<typeof handshakeSchema>

/** Both sides of one handshake; every message is written by one and read by the other. */
function runHandshake(input: HandshakeInput): OpResult {
  const side = (initiator: boolean, staticSeed: Buffer, ephemeralSeed: Buffer) =>
    new NoiseHandshake({
      initiator,
      prologue: input.prologue,
      staticKey: dhKeyFromSeed(staticSeed),
      ephemeralKey: dhKeyFromSeed(ephemeralSeed),
    })
  const initiator = side(true, input.init_static, input.init_ephemeral)
  const responder = side(false, input.resp_static, input.resp_ephemeral)
  try {
    const messages = input.payloads.slice(0, 3).map((payload, i) => {
      const [writer, reader] = i % 2 === 0 ? [initiator, responder] : [responder, initiator]
      const message = writer.write(() => payload)
      reader.read(message)
      return message
    })
    const keys = initiator.finish()
    const transport = transportMessages(keys, responder.finish(), input.payloads.slice(3))
    const hex = [...messages, ...transport].map((message) => message.toString('hex'))
    return { ok: true, output: { messages: hex, handshake_hash: keys.handshakeHash.toString('hex') } }
  } catch (error) {
    if (error instanceof NoiseError) return refused('handshake_failed', error.message)
    throw error
  }
}

/** Payloads after the handshake go on in turn, the responder first, as in the published vectors. */
function transportMessages(initiator: NoiseKeys, responder: NoiseKeys, payloads: readonly Buffer[]): Buffer[] {
  return payloads.map((payload, i) => (i % 2 === 0 ? responder : initiator).send.seal(payload))
}

/** Operations on sessions; docs/reference/conformance.md shows one example of each. */
export const transportOps: Readonly<Record<string, ConformanceOp>> = {
  'noise.handshake': conformanceOp(handshakeSchema, runHandshake),
}
