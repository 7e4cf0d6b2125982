import { InvalidArgumentError } from 'commander'
import { formatCredits, parseCredits } from '#protocol'

/** `12.5` credits as micro-credits. */
export function creditsOf(text: string): bigint {
  const micro = parseCredits(text)
  if (micro === undefined) throw new InvalidArgumentError('Give credits with at most six decimals, such as 10 or 0.25.')
  return micro
}

/** The same, and more than nothing. */
export function someCredits(text: string): bigint {
  const micro = creditsOf(text)
  if (micro === 0n) throw new InvalidArgumentError('Give more than 0 credits.')
  return micro
}

/** At most as long as a signed message takes. */
export function memoOf(text: string): string {
  if (text.length > 200) throw new InvalidArgumentError('Write at most 200 characters.')
  return text
}

/** Micro-credits as the API writes them, for a person. */
export const creditsText = (micro: string): string => formatCredits(BigInt(micro))
