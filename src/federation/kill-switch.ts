/** What stops all federation at once. Asked before every request that is answered and every call that is made. */
export interface KillSwitch {
  /** Whether federation is switched off now. Never rejects: what cannot be known counts as on. */
  on(): Promise<boolean>
  /** `abort` is called when it flips on, within a second. The result forgets it; call it when the work is over. */
  register(abort: () => void): () => void
}
