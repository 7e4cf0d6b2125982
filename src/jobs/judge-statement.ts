import { sha256 } from '#crypto'
import { decodeSigned, type SignatureChecker, type Signed } from '#protocol'
import type { RunEnd } from '#workers'
import type { Attempt } from './attempt.ts'

/** A worker's statement that fits what was asked and sent, or what does not fit. */
export type StatementVerdict =
  | { readonly ok: true; readonly signed: Signed<'worker-statement/1'> }
  | { readonly ok: false; readonly problem: string }

/** Decides; whoever it says no to goes unpaid. `model` is the client's name for it. */
export function judgeStatement(
  { statement: wire, promptTokens, completionTokens, finish }: RunEnd,
  attempt: Pick<Attempt, 'assignment' | 'prefix' | 'workerId' | 'hash' | 'digest' | 'decode'>,
  model: string,
  checker: SignatureChecker,
): StatementVerdict {
  if (wire === null) return no('there is none')
  const decoded = decodeSigned(wire, 'worker-statement/1')
  if (!decoded.ok) return no(decoded.problem)
  const { signed } = decoded
  const { message, signature, hash } = signed
  if (!attempt.assignment?.equals(message.assignment)) return no('it is for another assignment')
  if (message.worker.toString('hex') !== attempt.workerId) return no('it names another worker')
  if (message.model !== model) return no('it names another model')
  if ((message.digest?.toString('hex') ?? null) !== attempt.digest) return no('it names another model file')
  if (message.decode !== attempt.decode) return no(`it was ${message.decode}, and was to be ${attempt.decode}`)
  if ((message.prefix?.toString('hex') ?? null) !== (attempt.prefix?.toString('hex') ?? null)) {
    return no('it goes on from another beginning')
  }
  if (message.finish !== finish) return no('it ended otherwise than the end says')
  const { prompt, completion } = message.usage
  if (prompt !== promptTokens || completion !== completionTokens) return no('it claims another usage than the end')
  if (message.tokens !== attempt.hash.pieces) return no('it counts another number of pieces than were sent')
  if (!message.sent.equals(attempt.hash.digest())) return no('it is over other pieces than were sent')
  if (sha256(signature.key).toString('hex') !== attempt.workerId) return no('another key signed it')
  return checker.verify(signature, hash) ? { ok: true, signed } : no('its signature does not verify')
}

const no = (problem: string): StatementVerdict => ({ ok: false, problem })
