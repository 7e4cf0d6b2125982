import { sha256 } from '#crypto'
import type { Runtime } from '#runtime'
import { artifactsLimits } from './limits.ts'

/** Who may fetch which file until when. */
interface Ticket {
  readonly digest: string
  readonly holder: string
  readonly expiresAt: number
  /** Bytes it still gives. */
  bytesLeft: number
  /** A connection is being served with it. */
  busy: boolean
}

/** One fetch with a ticket, from its admission to its end. */
export interface Passage {
  /** So many bytes go out; false when the ticket gives no more, or was taken back. */
  spend(bytes: number): boolean
  close(): void
}

/**
 * Tickets for files: 32 random bytes that only their holder and this process know, each for one file, one connection at a time, a
 * number of bytes and some hours. Their hashes are kept, not they.
 */
export class Tickets {
  readonly #runtime: Runtime
  readonly #tickets = new Map<string, Ticket>()

  constructor(runtime: Runtime) {
    this.#runtime = runtime
  }

  /** Undefined when too many are good already. */
  issue(holder: string, digest: string, fileBytes: number): string | undefined {
    this.#prune()
    if (this.#tickets.size >= artifactsLimits.ticketsMax) return undefined
    const secret = this.#runtime.randomBytes(32)
    this.#tickets.set(nameOf(secret), {
      digest,
      holder,
      expiresAt: this.#runtime.monotonic() + artifactsLimits.ticketMs,
      bytesLeft: fileBytes * artifactsLimits.ticketTimesMax,
      busy: false,
    })
    return secret.toString('base64url')
  }

  /** Takes back whatever a holder has. */
  revoke(holder: string): void {
    for (const [name, ticket] of this.#tickets) if (ticket.holder === holder) this.#tickets.delete(name)
  }

  /** Whether it is good for this file. */
  opens(text: string, digest: string): boolean {
    return this.#find(text, digest) !== undefined
  }

  /** `busy`: it is used on another connection. Undefined: it opens nothing, or not this file. */
  admit(text: string, digest: string): Passage | 'busy' | undefined {
    const ticket = this.#find(text, digest)
    if (!ticket) return undefined
    if (ticket.busy) return 'busy'
    ticket.busy = true
    return {
      spend: (bytes) => {
        ticket.bytesLeft -= bytes
        return ticket.bytesLeft >= 0 && this.#find(text, digest) === ticket
      },
      close: () => {
        ticket.busy = false
      },
    }
  }

  #find(text: string, digest: string): Ticket | undefined {
    const ticket = this.#tickets.get(nameOf(Buffer.from(text, 'base64url')))
    const good = ticket?.digest === digest && ticket.expiresAt > this.#runtime.monotonic() && ticket.bytesLeft >= 0
    return good ? ticket : undefined
  }

  #prune(): void {
    const now = this.#runtime.monotonic()
    for (const [name, ticket] of this.#tickets) if (ticket.expiresAt <= now) this.#tickets.delete(name)
  }
}

/** A look-up by hash takes no time that tells of the ticket. */
const nameOf = (secret: Buffer) => sha256(secret).toString('hex')
