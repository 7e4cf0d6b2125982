import { parseJson, protocolLimits, verifyReceipt } from '#protocol'
import type { SignedFact } from './fact.ts'

export type SlashVerdict =
  | { readonly holds: true; readonly job: string }
  | { readonly holds: false; readonly why: string }

/**
 * Looks at the evidence of a slash anew: the receipt in it must verify by itself, under the key of the pool that says so, bear that
 * pool's signed verdict that a check hit, and be signed by the worker it names. What the model would have answered, nobody can see from
 * here: so it is a reason to look more closely, and none to punish.
 */
export function judgeSlash({ author, name, value }: SignedFact): SlashVerdict {
  const receipt = value ?? Buffer.alloc(0)
  const verdict = verifyReceipt(receipt, { poolId: author })
  if (!verdict.ok) return { holds: false, why: verdict.problem.sentence }
  const json = parseJson(receipt, { ...protocolLimits, bodyBytesMax: protocolLimits.receiptBytesMax })
  const view = json.ok ? (json.value as { view: ReceiptView }).view : undefined
  if (!view?.verdicts.some(({ outcome }) => outcome === 'hit'))
    return { holds: false, why: 'no verdict in it says that a check hit' }
  if (!view.workers.some(({ worker }) => worker === name))
    return { holds: false, why: 'the worker it names has signed nothing in it' }
  return { holds: true, job: view.statement.job }
}

interface ReceiptView {
  readonly statement: { readonly job: string }
  readonly verdicts: readonly { readonly outcome: string }[]
  readonly workers: readonly { readonly worker: string }[]
}
