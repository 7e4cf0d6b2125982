import { type Evidence, evidenceBytesOf, type PositionEvidence, protocolLimits } from '#protocol'
import type { CheckAsk } from './check.ts'

/** Why evidence is not about what was asked, or `undefined`. What it says is judged elsewhere. */
export function answersAsk(evidence: Evidence, ask: CheckAsk): string | undefined {
  const { completionTokens, ending, logitsHash, method, positions, unknownAt, wrongPieces } = evidence
  const committed = ask.tokens.length
  if (completionTokens > committed) return 'counts more tokens than were committed'
  if (unknownAt !== undefined && unknownAt !== completionTokens) return 'counts tokens that the model does not have'
  if (wrongPieces.some((position) => position >= committed)) return 'finds a wrong piece behind the last'
  if ((method === 'prefix') !== (ask.digest === null)) return 'is not of the method that was asked for'
  if (method === 'replay' && (logitsHash === undefined) !== (ask.replay === 'prefill')) {
    return 'is not of the kind of replay that was asked for'
  }
  const asked = ask.positions ?? Array.from({ length: committed }, (_, position) => position)
  const counted = asked.filter((position) => position < completionTokens)
  if (counted.length !== positions.length || counted.some((position, n) => positions[n]?.position !== position)) {
    return 'is about other positions'
  }
  const reported = ending.end ? [...positions, ending.end] : positions
  const tooMany = ({ top }: PositionEvidence) => top.length > ask.top
  return reported.some(tooMany) ? 'lists more tokens than were asked for' : undefined
}

/** Why nobody could answer this, or `undefined`. */
export function cannotBeAsked({ positions, tokens, top }: CheckAsk): string | undefined {
  const count = positions?.length ?? tokens.length
  if (count > protocolLimits.checkPositionsMax) return `asks for ${count} positions at once`
  if (evidenceBytesOf(count, top) > protocolLimits.evidenceBytesMax) return 'asks for more than evidence can hold'
  return undefined
}
