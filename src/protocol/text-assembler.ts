import { StringDecoder } from 'node:string_decoder'

/**
 * Turns token pieces into text that may be shown: holds back unfinished UTF-8 and whatever may become a stop string.
 * Worker and pool run the same code, and a takeover rebuilds it by pushing the pieces again.
 *
 * A stop string ends the text before its first character and is not part of it (OpenAI `stop`).
 */
export class TextAssembler {
  readonly #decoder = new StringDecoder('utf8')
  readonly #stops: readonly string[]
  readonly #stopCharsMax: number
  #held = ''
  #stopped = false

  constructor(stops: readonly string[] = []) {
    this.#stops = stops.filter((stop) => stop.length > 0)
    this.#stopCharsMax = Math.max(0, ...this.#stops.map((stop) => stop.length))
  }

  /** False when a piece can end nothing: several may be pushed as one. */
  get seeksStops(): boolean {
    return this.#stopCharsMax > 0
  }

  /** True once a stop string was found; later pieces add nothing. */
  get stopped(): boolean {
    return this.#stopped
  }

  /** The text that this piece makes certain; possibly empty. */
  push(piece: Buffer): string {
    if (this.#stopped) return ''
    const text = this.#decoder.write(piece)
    if (this.#stopCharsMax === 0) return text
    this.#held += text
    const at = this.#firstStop()
    if (at >= 0) {
      this.#stopped = true
      return this.#take(at)
    }
    return this.#take(this.#held.length - this.#possibleStopChars())
  }

  /** What is left when the tokens end without a stop string. Unfinished UTF-8 becomes U+FFFD. */
  finish(): string {
    if (this.#stopped) return ''
    this.#held += this.#decoder.end()
    return this.#take(this.#held.length)
  }

  #take(chars: number): string {
    const text = this.#held.slice(0, chars)
    this.#held = this.#held.slice(chars)
    return text
  }

  #firstStop(): number {
    let first = -1
    for (const stop of this.#stops) {
      const at = this.#held.indexOf(stop)
      if (at >= 0 && (first < 0 || at < first)) first = at
    }
    return first
  }

  /** Length of the longest tail of the held text that is the beginning of a stop string. */
  #possibleStopChars(): number {
    for (let length = Math.min(this.#held.length, this.#stopCharsMax - 1); length > 0; length--) {
      const tail = this.#held.slice(-length)
      if (this.#stops.some((stop) => stop.startsWith(tail))) return length
    }
    return 0
  }
}
