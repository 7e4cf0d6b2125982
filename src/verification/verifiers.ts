import type { SeenEvidence } from './judge-look.ts'
import type { KeptAnswer } from './transcript.ts'

/** An answer to look at again, as a verifier is asked. */
export interface LookAsk {
  readonly kind: KeptAnswer['kind']
  /** The name the verifier offers the file under. */
  readonly model: string
  readonly digest: string | null
  readonly choice: number
  readonly seed: string
  readonly maxTokens: number
  readonly contextTokens: number
  readonly replay: 'prefill' | 'isolated'
  /** Ascending; null: all. */
  readonly positions: number[] | null
  readonly top: number
  /** Milliseconds until it must have committed. */
  readonly deadlineMs: number
  readonly body: Buffer
  readonly tokens: readonly { readonly id: number; readonly piece: Buffer }[]
}

/** One look at one worker; the workers' room sees to it that it says what it committed to. */
export interface LookRun {
  readonly committed: Promise<{ readonly wire: Buffer }>
  reveal(): Promise<{ readonly evidence: SeenEvidence; readonly bytes: Buffer }>
}

/** Workers that can be asked to look. */
export interface Verifiers {
  check(workerId: string, ask: LookAsk, signal: AbortSignal): LookRun
}
