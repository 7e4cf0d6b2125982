import { z } from 'zod'
import { PoolError } from '#protocol'
import { identityLimits } from './limits.ts'

/**
 * No control characters (C0, C1), no line or paragraph separators, nothing that turns the direction of writing (Unicode's
 * Bidi_Control), no half of a surrogate pair: a name must not be able to look like another or to move a terminal's cursor.
 */
const plainText = /^[^\p{Cc}\p{Zl}\p{Zp}\p{Cs}\p{Bidi_Control}]*$/u

/** What people may be given as a name: of a user, a key, an operator. White space around it is taken off. */
export const ownerNameSchema = z
  .string()
  .regex(plainText, 'one line without control characters')
  .trim()
  .min(1)
  .max(identityLimits.nameCharsMax)

/** The name as it is kept. @throws PoolError invalid_request; `what` begins the sentence: `An operator`. */
export function checkName(name: string, what: string, param: string): string {
  const parsed = ownerNameSchema.safeParse(name)
  if (parsed.success) return parsed.data
  const message = `${what} needs a name of 1 to ${identityLimits.nameCharsMax} characters without control characters.`
  throw new PoolError('invalid_request', message, 'Choose a name that can be read on one line.', { param })
}
