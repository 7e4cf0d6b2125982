import { verifySignature } from '#crypto'
import type { Sql } from '#storage'
import { type AdminSignature, isSignedNow } from './admin-request.ts'

/** Of these signatures the ones that are of now, by keys of the list, and hold; one for each key. */
export function goodSignatures(
  signatures: readonly AdminSignature[],
  keys: ReadonlyMap<string, Buffer>,
  bytesAt: (signedAt: number) => Buffer,
  now: number,
): AdminSignature[] {
  const good = new Map<string, AdminSignature>()
  for (const one of signatures) {
    const key = keys.get(one.key_id)
    if (!key || good.has(one.key_id) || !isSignedNow(one, now)) continue
    if (verifySignature(key, bytesAt(one.signed_at), Buffer.from(one.signature, 'base64'))) good.set(one.key_id, one)
  }
  return [...good.values()]
}

/** Admin keys of another pool that a human registered here, by id. */
export async function peerAdminKeys(sql: Sql, peerId: string): Promise<ReadonlyMap<string, Buffer>> {
  const rows = await sql<{ id: string; publicKey: Buffer }[]>`
    select id, public_key as "publicKey" from peer_admin_keys where peer_id = ${peerId} and revoked_at is null limit 64`
  return new Map(rows.map(({ id, publicKey }) => [id, Buffer.from(publicKey)]))
}
