import { createHash, createSecretKey, hkdfSync } from 'node:crypto'
import { type DhKey, diffieHellman, importDhPublicKey, type PublicKeyHandle } from '#crypto'
import { CipherState } from './cipher-state.ts'

/** A handshake message that is malformed, does not authenticate, or leads to an all-zero secret. */
export class NoiseError extends Error {
  override readonly name = 'NoiseError'
}

export interface NoiseOptions {
  /** The worker is the initiator. */
  readonly initiator: boolean
  readonly prologue: Buffer
  readonly staticKey: DhKey
  /** Fresh for every handshake; fixed only by published vectors. */
  readonly ephemeralKey: DhKey
}

export interface NoiseKeys {
  readonly send: CipherState
  readonly receive: CipherState
  /** 32 bytes that name this session and no other. */
  readonly handshakeHash: Buffer
}

type Token = 'e' | 's' | 'ee' | 'es' | 'se'

/** XX of the Noise specification §7.5; messages 1 and 3 are the initiator's. */
const pattern: readonly (readonly Token[])[] = [['e'], ['e', 'ee', 's', 'es'], ['s', 'se']]
const protocolName = Buffer.from('Noise_XX_25519_ChaChaPoly_BLAKE2s')
const keyBytes = 32
const tagBytes = 16
const noBytes = Buffer.alloc(0)

/**
 * Noise_XX_25519_ChaChaPoly_BLAKE2s, revision 34: the symmetric and the handshake state (§5.2, §5.3). No socket, no dice.
 * `write` and `read` are called in turn, three in all; then `finish`. Both throw {@link NoiseError} and are not usable afterwards.
 */
export class NoiseHandshake {
  readonly #options: NoiseOptions
  #hash: Buffer
  #chainingKey: Buffer
  #cipher: CipherState | undefined
  #step = 0
  #theirEphemeral: PublicKeyHandle | undefined
  #theirStatic: PublicKeyHandle | undefined
  /** Handshake hash just before the last payload was encrypted: what its signature covers. */
  hashBeforePayload: Buffer

  constructor(options: NoiseOptions) {
    this.#options = options
    this.#chainingKey = blake2s(protocolName) // the name is longer than HASHLEN
    this.#hash = blake2s(this.#chainingKey, options.prologue)
    this.hashBeforePayload = this.#hash
  }

  /** The next message of this side. `payload` is given the handshake hash it may sign. */
  write(payload: (hash: Buffer) => Buffer): Buffer {
    const { staticKey, ephemeralKey } = this.#options
    const parts: Buffer[] = []
    for (const token of this.#tokens(true)) {
      if (token === 'e') {
        this.#mixHash(ephemeralKey.publicKey)
        parts.push(ephemeralKey.publicKey)
      } else if (token === 's') parts.push(this.#encryptAndHash(staticKey.publicKey))
      else this.#mixDh(token)
    }
    this.hashBeforePayload = this.#hash
    parts.push(this.#encryptAndHash(payload(this.#hash)))
    return Buffer.concat(parts)
  }

  /** The payload of the other side's next message. */
  read(message: Buffer): Buffer {
    let rest = message
    const take = (length: number) => {
      if (rest.length < length) throw new NoiseError('the handshake message is too short')
      const part = rest.subarray(0, length)
      rest = rest.subarray(length)
      return part
    }
    for (const token of this.#tokens(false)) {
      if (token === 'e') {
        this.#theirEphemeral = importDhPublicKey(take(keyBytes))
        this.#mixHash(this.#theirEphemeral.raw)
      } else if (token === 's') this.#theirStatic = importDhPublicKey(this.#decryptAndHash(take(keyBytes + tagBytes)))
      else this.#mixDh(token)
    }
    this.hashBeforePayload = this.#hash
    return this.#decryptAndHash(rest)
  }

  /** The two keys of the session. Throws before the third message. */
  finish(): NoiseKeys {
    if (this.#step !== pattern.length) throw new NoiseError('the handshake has not ended')
    const [first, second] = hkdf(this.#chainingKey, noBytes)
    const [send, receive] = this.#options.initiator ? [first, second] : [second, first]
    return { send: new CipherState(send), receive: new CipherState(receive), handshakeHash: this.#hash }
  }

  #tokens(writing: boolean): readonly Token[] {
    const mine = (this.#step % 2 === 0) === this.#options.initiator
    const tokens = pattern[this.#step]
    if (!tokens || mine !== writing) throw new NoiseError('it is not the turn of this side')
    this.#step += 1
    return tokens
  }

  /** The first letter of the token is the initiator's key, the second the responder's. */
  #mixDh(token: 'ee' | 'es' | 'se'): void {
    const { initiator, staticKey, ephemeralKey } = this.#options
    const [mine, theirs] = initiator ? [token[0], token[1]] : [token[1], token[0]]
    const theirKey = theirs === 'e' ? this.#theirEphemeral : this.#theirStatic
    const secret = theirKey && diffieHellman(mine === 'e' ? ephemeralKey : staticKey, theirKey)
    if (!secret) throw new NoiseError('the other side sent a key of small order')
    const [chainingKey, key] = hkdf(this.#chainingKey, secret)
    this.#chainingKey = chainingKey
    this.#cipher = new CipherState(key)
  }

  #mixHash(data: Buffer): void {
    this.#hash = blake2s(this.#hash, data)
  }

  #encryptAndHash(plain: Buffer): Buffer {
    const sealed = this.#cipher ? this.#cipher.seal(plain, this.#hash) : plain
    this.#mixHash(sealed)
    return sealed
  }

  #decryptAndHash(sealed: Buffer): Buffer {
    const plain = this.#cipher ? this.#cipher.open(sealed, this.#hash) : sealed
    if (!plain) throw new NoiseError('the handshake message does not authenticate')
    this.#mixHash(sealed)
    return plain
  }
}

function blake2s(...parts: readonly Buffer[]): Buffer {
  const hash = createHash('blake2s256')
  for (const part of parts) hash.update(part)
  return hash.digest()
}

/**
 * HKDF of Noise §4.3 with two outputs: that of RFC 5869 with the chaining key as salt and no info. One call instead of three HMACs,
 * and a KeyObject instead of bytes, save a fifth of a handshake.
 */
function hkdf(chainingKey: Buffer, input: Buffer): readonly [Buffer, Buffer] {
  const both = Buffer.from(hkdfSync('blake2s256', createSecretKey(input), chainingKey, noBytes, 2 * keyBytes))
  return [both.subarray(0, keyBytes), both.subarray(keyBytes)]
}
