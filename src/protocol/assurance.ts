/** How an answer is checked, as clients ask for it and orders name it. */
export const assuranceLevels = ['sampled', 'deterministic', 'required', 'none'] as const
export type AssuranceLevel = (typeof assuranceLevels)[number]

/** Who may see a prompt: the pool's workers and verifiers, nobody outside the pool, or one worker and nobody else. */
export const privacyModes = ['standard', 'paranoid', 'single-exposure'] as const
export type PrivacyMode = (typeof privacyModes)[number]

/** Request headers; the response head repeats what holds. */
export const assuranceHeader = 'x-lichen-assurance'
export const privacyHeader = 'x-lichen-privacy'

/** Workers that compute one answer at most (k of {@link assuranceLevels} `required`, setting and key). */
export const assuranceWorkers = { min: 2, max: 5 } as const

/** Answers that are computed, and billed, for one choice: `required` says how many where the pool or the key asks for more than two. */
export function copiesOf(level: AssuranceLevel, required: number = assuranceWorkers.min): number {
  if (level === 'required') return required
  return level === 'deterministic' ? 2 : 1
}
