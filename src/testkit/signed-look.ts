import { type Identity, sha256 } from '#crypto'
import { encodeMessage, encodeSigned, signBatch } from '#protocol'
import { systemRuntime } from '#runtime'

/** What a verifier signs before it says what it found. */
export function signedLook(identity: Identity, found: Buffer): Buffer {
  const message = { check: systemRuntime.uuid(), worker: Buffer.from(identity.id, 'hex'), commitment: sha256(found) }
  const bytes = encodeMessage('commitment/1', message)
  const [signature] = signBatch(identity, [{ type: 'commitment/1', bytes }])
  if (!signature) throw new Error('a batch of one has one signature')
  return encodeSigned({ bytes, signature })
}
