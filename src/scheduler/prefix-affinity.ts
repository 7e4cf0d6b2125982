import { hash } from 'node:crypto'
import { schedulerLimits } from './limits.ts'

/**
 * Names of a conversation and of its beginning without the last two messages, which is what its previous turn sent. A
 * shared first message alone does not count: it would gather everybody with one system prompt on one worker.
 *
 * Scoped to the API key: whether a stranger asked the same before must not be told by the clock.
 */
export function prefixKeys(keyId: string, messages: readonly string[]): readonly string[] {
  const keys: string[] = []
  for (const length of [messages.length, messages.length - 2]) {
    if (length < 1) continue
    let text = `${keyId}\n${length}\n`
    for (let i = 0; i < length && text.length < schedulerLimits.affinityBytesMax; i++) {
      const message = messages[i] as string
      text += `${message.length}:${message.slice(0, schedulerLimits.affinityBytesMax - text.length)}`
    }
    keys.push(hash('sha256', text, 'base64url'))
  }
  return keys
}

/** Which worker last computed a conversation prefix. A hint, bounded, least recently used forgotten first. */
export class PrefixAffinity {
  readonly #workerOf = new Map<string, string>()
  readonly #entriesMax: number

  constructor(entriesMax: number = schedulerLimits.affinityEntriesMax) {
    this.#entriesMax = entriesMax
  }

  get size(): number {
    return this.#workerOf.size
  }

  workerOf(prefix: string): string | undefined {
    return this.#workerOf.get(prefix)
  }

  remember(prefixes: readonly string[], workerId: string): void {
    for (const prefix of prefixes) {
      this.#workerOf.delete(prefix)
      this.#workerOf.set(prefix, workerId)
    }
    for (const oldest of this.#workerOf.keys()) {
      if (this.#workerOf.size <= this.#entriesMax) return
      this.#workerOf.delete(oldest)
    }
  }
}
