import type { Evidence, PositionEvidence } from '#protocol'

export const samplePosition = (position: number): PositionEvidence => ({
  position,
  chosen: { id: 100 + position, logit: -0.5, noise: 0.25 },
  choice: { id: 200, logit: 0, noise: -1.5 },
  margin: 0.125,
  top: [
    { id: 200, logit: 0 },
    { id: 100 + position, logit: -0.5 },
  ],
})

/** Evidence about an answer of `tokens` tokens that ended by itself. */
export function sampleEvidence(tokens = 3, more: Partial<Evidence> = {}): Evidence {
  return {
    method: 'replay',
    promptTokens: 7,
    completionTokens: tokens,
    wrongPieces: [],
    unknownAt: undefined,
    positions: Array.from({ length: tokens }, (_, position) => samplePosition(position)),
    ending: { shown: 'nothing', end: samplePosition(tokens) },
    logitsHash: undefined,
    ...more,
  }
}
