import { acceptPublicKey, sha256 } from '#crypto'
import { PoolError } from '#protocol'
import type { Tx } from '#storage'

/**
 * A public key of somebody outside the pool, by the one policy for such keys; never the pool's own, whose private half
 * lies in the data folder. @throws PoolError invalid_request.
 */
export async function acceptedKey<K extends Buffer | null>(tx: Tx, raw: K, param: string): Promise<K> {
  if (raw === null) return raw
  const verdict = acceptPublicKey(raw)
  if (!verdict.ok) {
    const message = `This is no Ed25519 public key to trust (${verdict.reason}).`
    throw new PoolError('invalid_request', message, 'Send the 32 bytes that the key’s owner sent you.', { param })
  }
  const [own] = await tx`select 1 from meta where key = 'pool_id' and value = ${sha256(raw).toString('hex')}`
  if (!own) return raw
  throw new PoolError('invalid_request', 'This is the pool’s own key.', 'Make one on your own machine.', { param })
}
