import { sha256 } from '#crypto'

const domain = Buffer.from('lichen/commitment/1\n')

/** What a verifier's evidence is bound to: the one check, and the verifier itself, so that nobody can commit to what another found. */
export interface Opening {
  /** UUID in lower case. */
  readonly check: string
  /** 32 bytes: sha256 of the verifier's key. */
  readonly worker: Buffer
  /** 32 random bytes, or a commitment to "no fault" could be guessed. */
  readonly nonce: Buffer
  /** {@link encodeEvidence}. */
  readonly evidence: Buffer
}

/** `sha256("lichen/commitment/1\n" ‖ check ‖ worker ‖ nonce ‖ sha256(evidence))`, all parts of fixed length. */
export function commitmentOf({ check, worker, nonce, evidence }: Opening): Buffer {
  return sha256(domain, uuidBytes(check), worker, nonce, sha256(evidence))
}

/** The 16 bytes of a UUID. */
export const uuidBytes = (uuid: string): Buffer => Buffer.from(uuid.replaceAll('-', ''), 'hex')

/** The UUID of 16 bytes, in lower case. */
export function uuidOf(bytes: Buffer): string {
  const hex = bytes.toString('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}
