/** `sha256(raw Ed25519 public key)` of a pool, 64 lowercase hex digits (contracts: keys and ids). */
export type PoolId = string & { readonly __brand: 'PoolId' }
/** The same of a worker's identity key. */
export type WorkerId = string & { readonly __brand: 'WorkerId' }

const hex64 = /^[0-9a-f]{64}$/

export function parsePoolId(text: string): PoolId | undefined {
  return hex64.test(text) ? (text as PoolId) : undefined
}

export function parseWorkerId(text: string): WorkerId | undefined {
  return hex64.test(text) ? (text as WorkerId) : undefined
}
