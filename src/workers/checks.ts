import { type Calibrate, messageType, protocolLimits, type Refusal } from '#protocol'
import type { Runtime } from '#runtime'
import { Calibration } from './calibration.ts'
import { Check, type CheckAsk, type CheckRun, type Verifier } from './check.ts'
import { encodeCalibrate, encodeCheck } from './encode-message.ts'
import type { Errand, ErrandLink, ErrandMessage } from './errand.ts'
import { cannotBeAsked } from './evidence-fits.ts'
import { workersLimits } from './limits.ts'
import { busy, tooLong, unaskable } from './refusals.ts'

/** What a calibration is asked with. */
export type CalibrationAsk = Omit<Calibrate, 'check'>

/** The checks and calibrations of one worker's session. They take none of its slots; there are few of them. */
export class Checks {
  readonly #verifier: Verifier
  readonly #link: ErrandLink
  readonly #runtime: Pick<Runtime, 'randomBytes'>
  readonly #errands = new Map<string, Errand>()

  constructor(verifier: Verifier, runtime: Pick<Runtime, 'randomBytes'>, link: Omit<ErrandLink, 'released'>) {
    this.#verifier = verifier
    this.#runtime = runtime
    this.#link = { ...link, released: (errand) => this.#errands.delete(errand.id) }
  }

  get size(): number {
    return this.#errands.size
  }

  /** `refusal`: why the session takes nothing now. */
  check(ask: CheckAsk, signal: AbortSignal, refusal: Refusal | undefined): CheckRun {
    const { body, tokens, ...header } = ask
    const check = new Check(this.#freshId(), ask, signal, this.#verifier, this.#link)
    const parts = encodeCheck({ check: check.id, ...header }, body, tokens)
    const wrong = cannotBeAsked(ask)
    const long = parts.reduce((sum, part) => sum + part.length, 1) > protocolLimits.messageBytesMax
    const why = refusal ?? (wrong === undefined ? undefined : unaskable(wrong)) ?? (long ? tooLong : undefined)
    this.#start(check, why, signal, () => this.#link.send(messageType.check, parts))
    return check
  }

  calibrate(ask: CalibrationAsk, signal: AbortSignal, refusal: Refusal | undefined): Promise<string> {
    const calibration = new Calibration(this.#freshId(), ask.deadlineMs, signal, this.#link)
    const body = encodeCalibrate({ check: calibration.id, ...ask })
    this.#start(calibration, refusal, signal, () => this.#link.send(messageType.calibrate, body))
    return calibration.found
  }

  receive(message: ErrandMessage): string | undefined {
    const errand = this.#errands.get(message.check)
    return errand ? errand.receive(message) : 'A message for a check that is not open.'
  }

  /** Looks at the clock; a sentence when the worker broke the protocol. */
  sweep(nowMs: number): string | undefined {
    for (const errand of [...this.#errands.values()]) {
      const wrong = errand.sweep(nowMs)
      if (wrong !== undefined) return wrong
    }
    return undefined
  }

  lost(reason: string): void {
    for (const errand of [...this.#errands.values()]) errand.lost(reason)
  }

  #start(errand: Errand, refusal: Refusal | undefined, signal: AbortSignal, send: () => void): void {
    const full = this.#errands.size >= workersLimits.checksPerWorkerMax
    const why = refusal ?? (full ? busy('has as many checks as it takes') : undefined)
    if (why) errand.refuse(why)
    else if (signal.aborted) errand.refuse(signal.reason)
    else {
      this.#errands.set(errand.id, errand)
      send()
    }
  }

  /** Random, in no order: it tells a verifier nothing. */
  #freshId(): string {
    const hex = this.#runtime.randomBytes(16).toString('hex')
    // RFC 9562 §5.4, UUIDv4.
    const variant = ((Number.parseInt(hex.charAt(16), 16) & 0x3) | 0x8).toString(16)
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20)}`
  }
}
