/** Why federation does nothing now: somebody has switched it off, or it cannot be known whether somebody has. Both stop everything. */
export type WhyOff = 'killed' | 'switch_unknown'

/** What stops all federation at once. Asked before every request that is answered and every call that is made. */
export interface KillSwitch {
  /** Undefined: it runs. Never rejects: what cannot be known counts as off. */
  whyOff(): Promise<WhyOff | undefined>
  /** `abort` is called when it flips, within a second. The result forgets it; call it when the work is over. */
  register(abort: (why: WhyOff) => void): () => void
}

/** A file that switches federation off. */
export interface SwitchFile {
  readonly path: string
  /** False: it cannot be looked at, or the file system gives no answer; that counts as there. */
  readonly isThere: boolean
}

/** What is said where nothing is sent, or a call is given up. It is about this pool, not about who was to be called. */
export const whyOffText: Readonly<Record<WhyOff, string>> = {
  killed: 'Federation is switched off here.',
  switch_unknown:
    'This pool cannot read its own federation switch just now (its database or disk is slow or away), so it calls nobody.',
}
