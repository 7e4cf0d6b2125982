import { epochMs, PoolError } from '#protocol'
import type { Sql } from '#storage'
import { discloseEpoch, disclosureText } from './disclosure.ts'
import { verificationLimits } from './limits.ts'

interface ToldEpoch {
  readonly commitment: Buffer
  readonly key: Buffer
  /** sha256 of the disclosure. */
  readonly disclosure: Buffer
}

/** @throws PoolError not_found when the epoch is unknown or not told yet. */
export async function toldEpoch(sql: Sql, epoch: number): Promise<ToldEpoch> {
  const [row] = await sql<{ commitment: Buffer; key: Buffer | null; disclosure: Buffer | null }[]>`
    select commitment, key, disclosure from epochs where epoch = ${epoch}`
  if (!row)
    throw new PoolError(
      'not_found',
      `The pool had no epoch ${epoch}.`,
      'An epoch is the number of a UTC hour since 1970.',
    )
  const { commitment, key, disclosure } = row
  if (key && disclosure) return { commitment, key, disclosure }
  const at = new Date((epoch + 1) * epochMs + verificationLimits.disclosureMs).toISOString()
  throw new PoolError('not_found', `The key of epoch ${epoch} is told from ${at} on.`, 'Ask again then.')
}

/** Disclosures for strangers: a few at once, more are refused with `overloaded`. */
export class ToldEpochs {
  readonly #sql: Sql
  #running = 0

  constructor(sql: Sql) {
    this.#sql = sql
  }

  /** The text of a told epoch, in pieces: to be read to its end, or to be given up by `return`. @throws PoolError not_found, overloaded. */
  async open(epoch: number): Promise<AsyncGenerator<Buffer>> {
    const { commitment, key } = await toldEpoch(this.#sql, epoch)
    if (this.#running >= verificationLimits.disclosuresAtOnceMax)
      throw new PoolError('overloaded', 'Too many read what was told at once.', 'Try again in a moment.', {
        retryAfterMs: 1_000,
      })
    this.#running++
    const pieces = this.#pieces({ epoch, commitment, key })
    // begins it: what is given up before its first piece gives its place back, too
    await pieces.next()
    return pieces
  }

  async *#pieces(open: Parameters<typeof discloseEpoch>[1]): AsyncGenerator<Buffer> {
    try {
      yield nothing
      let lines: Buffer[] = []
      let bytes = 0
      for await (const line of discloseEpoch(this.#sql, open)) {
        const text = disclosureText(line)
        lines.push(text)
        bytes += text.length
        if (bytes < verificationLimits.disclosurePieceBytes) continue
        yield Buffer.concat(lines)
        ;[lines, bytes] = [[], 0]
      }
      if (bytes > 0) yield Buffer.concat(lines)
    } finally {
      this.#running--
    }
  }
}

const nothing = Buffer.alloc(0)
