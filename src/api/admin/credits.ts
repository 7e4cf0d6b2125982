import { z } from 'zod'

/** Micro-credits as JSON carries them: a decimal string, exact in every language. At most 18 digits. */
export const microCreditsSchema = z
  .string()
  .regex(/^(?:0|[1-9]\d{0,17})$/, 'a whole number of micro-credits, in decimal')

/** Null stays null: no limit. */
export const amountText = (micro: bigint | null): string | null => (micro === null ? null : micro.toString())

/** What was parsed by {@link microCreditsSchema}; a member that was left out stays out. */
export const toAmount = (text: string | null | undefined): bigint | null | undefined =>
  text === null || text === undefined ? text : BigInt(text)
