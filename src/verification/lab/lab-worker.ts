import { sha256 } from '#crypto'
import { type CheckOutcome, chartDefaults, reputationLimits } from '#reputation'
import type { Duty } from '../standings.ts'
import { newStanding, type Standing } from '../verdict.ts'
import type { Transcript } from './transcript.ts'
import { type Adversary, honest } from './zoo.ts'

/** Something a worker is accused of: it said that of a transcript. Of its own answers it says that they are clean. */
export interface Exhibit {
  readonly transcript: Transcript
  readonly said: CheckOutcome
}

/** An answer whose earnings are still held. */
export interface HeldAnswer {
  readonly at: number
  readonly wrong: boolean
}

/** One identity of a simulated worker, of an operator of its own. */
export class LabWorker {
  readonly name: string
  readonly id: string
  readonly #statement: Buffer
  adversary: Adversary = honest
  standing: Record<Duty, Standing>
  exhibits: Record<Duty, readonly Exhibit[]> = { serve: [], verify: [] }
  /** Requests answered, verdicts of it that were judged, checks of its answers. */
  served = 0
  judged = 0
  checks = 0
  /** The same three when it began to be what it is. */
  since = { served: 0, judged: 0, checks: 0 }
  /** How many of its checks each operator made. */
  checksBy = new Map<string, number>()
  /** Answers it saved itself the work of. */
  cheated = 0
  /** First in, first out; the first `booked` of them are in the ledger. */
  held: HeldAnswer[] = []
  booked = 0
  convicted = false
  /** Alarms that a tribunal took back. */
  cleared = 0

  constructor(name: string) {
    const hash = sha256(Buffer.from(name))
    this.name = name
    this.id = hash.toString('hex')
    this.#statement = Buffer.concat([hash, Buffer.alloc(8)])
    // No second opinion on a verdict is had before it counts, so a verifier's charts expect the noise of a first look.
    const asVerifier = { ...chartDefaults, honestHitRate: reputationLimits.honestHitRateUnconfirmed }
    this.standing = { serve: newStanding(), verify: newStanding(asVerifier) }
  }

  become(adversary: Adversary): void {
    this.adversary = adversary
    this.since = { served: this.served, judged: this.judged, checks: this.checks }
  }

  /** Hash of its next statement: who it is, and the how manieth answer it is. */
  nextStatement(): Buffer {
    this.served += 1
    this.#statement.writeUInt32BE(this.served, 36)
    return sha256(this.#statement)
  }

  get mayWork(): boolean {
    const { serve, verify } = this.standing
    return !this.convicted && serve.phase !== 'frozen' && verify.phase !== 'frozen'
  }

  fork(): LabWorker {
    const { held, standing, exhibits, since } = this
    const own = {
      held: [...held],
      standing: { ...standing },
      exhibits: { ...exhibits },
      since: { ...since },
      checksBy: new Map(this.checksBy),
    }
    return Object.assign(new LabWorker(this.name), this, own)
  }
}
