import { sha256 } from '#crypto'

/** `sha256("lichen/body/1\n" ‖ salt ‖ raw HTTP body)`. Without the 32 bytes of salt a short prompt could be guessed from it. */
export function bodyCommitment(salt: Buffer, body: Buffer): Buffer {
  return sha256(Buffer.from('lichen/body/1\n'), salt, body)
}
