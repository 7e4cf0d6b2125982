import { acceptPublicKey, importPublicKey, leafHash, verifySignature } from '#crypto'
import { protocolLimits } from '../limits.ts'
import { batchBytes, rootOfPath, type Signature } from './signature.ts'

/** Answers of a slow question, the most recently used ones. */
class Remembered<T> {
  readonly #answers = new Map<string, { readonly value: T }>()

  of(name: string, ask: () => T): T {
    const answer = this.#answers.get(name) ?? { value: ask() }
    this.#answers.delete(name)
    this.#answers.set(name, answer)
    const [oldest = ''] = this.#answers.keys()
    if (this.#answers.size > protocolLimits.verifiedRootsMax) this.#answers.delete(oldest)
    return answer.value
  }
}

/**
 * Verifies signatures and remembers which roots it saw verified, so that a batch costs one Ed25519 verification and then a few hashes a
 * message. A key is accepted once, by the policy of #crypto.
 */
export class SignatureChecker {
  readonly #keys = new Remembered<ReturnType<typeof importPublicKey> | undefined>()
  readonly #roots = new Remembered<boolean>()

  /** Whether `signature` covers the message of this {@link digestOf}. It says nothing about whose key it is. */
  verify(signature: Signature, digest: Buffer): boolean {
    const root = rootOfPath(leafHash(digest), signature)
    if (!root) return false
    const { key, sig } = signature
    const accepted = this.#keys.of(key.toString('latin1'), () =>
      acceptPublicKey(key).ok ? importPublicKey(key) : undefined,
    )
    if (!accepted) return false
    const name = Buffer.concat([key, root, sig]).toString('latin1')
    return this.#roots.of(name, () => verifySignature(accepted, batchBytes(root), sig))
  }
}
