import { leafHash, sha256, verifyInclusion } from '#crypto'
import {
  decodeSamplingOpening,
  epochCommitment,
  orderLeafData,
  rateLeafData,
  samplingCommitment,
  selects,
} from '../check/selection.ts'
import type { Checkpoint } from '../signed-note.ts'
import { epochMs } from './epoch.ts'
import { type CheckResult, failed, short } from './receipt-checks.ts'
import type { ReceiptMessages, SamplingProof, ToldSampling } from './receipt-file.ts'

/** That the pool fixed by what the answer is sampled before a worker had it, and, once that is told, what was decided. */
export function checkSampling(
  sampling: SamplingProof | undefined,
  messages: ReceiptMessages,
  { size, root }: Checkpoint,
): CheckResult {
  if (!sampling) return { line: 'nothing was fixed by which this answer could have been picked for a check' }
  const { index, path, commitment, told } = sampling
  const leaf = leafHash(orderLeafData(messages.order.hash, commitment))
  if (!verifyInclusion({ leaf, index, size, path, root })) {
    return invalid('The log does not hold the order with this commitment to how its answer is sampled.')
  }
  return told ? checkTold(told, commitment, messages) : { line: untold(messages.statement.epoch) }
}

const invalid = (sentence: string) => failed('sampling_invalid', sentence)

/** A day and an hour after the epoch; the pool's rule, for people. */
const toldAfterMs = 25 * 3_600_000

function untold(epoch: number): string {
  const at = new Date((epoch + 1) * epochMs + toldAfterMs).toISOString().slice(0, 16)
  return `whether this answer was picked for a check, and how likely that was, is told from ${at}Z on`
}

function checkTold({ key, opening, rates }: ToldSampling, commitment: Buffer, messages: ReceiptMessages): CheckResult {
  if (!samplingCommitment(opening).equals(commitment)) return invalid('What is told is not what the pool committed to.')
  const fixed = decodeSamplingOpening(opening)
  if (fixed.epoch !== messages.statement.epoch) return invalid('What is told is about another hour.')
  if (!epochCommitment(key).equals(fixed.key)) return invalid('The key is not the one the pool committed to.')
  if (rates.length !== messages.workers.length) return invalid('There is not one check rate for each statement.')
  const words: string[] = []
  for (const [at, { message, bytes }] of messages.workers.entries()) {
    const rate = rates[at]
    if (rate) {
      const leaf = leafHash(rateLeafData(message.worker, message.model, rate.ppm))
      if (!verifyInclusion({ leaf, index: rate.index, size: rate.size, path: rate.path, root: fixed.rates })) {
        return invalid(`The check rate of worker ${short(message.worker)} is not the one that was in force.`)
      }
    }
    // Who is not among the rates is checked always.
    const qPpm = rate?.ppm ?? 1_000_000
    const picked = selects({ epochKey: key, statementHash: sha256(bytes), qPpm })
    words.push(inWords(picked, qPpm, messages))
  }
  return { line: words.length === 0 ? 'no worker signed anything that could be picked for a check' : words.join('; ') }
}

function inWords(picked: boolean, qPpm: number, { verdicts, statement }: ReceiptMessages): string {
  const chance = `the chance was ${Number((qPpm / 10_000).toPrecision(3))} %`
  if (!picked) return `this answer was not among those checked; ${chance}`
  if (statement.assurance.given === 'none') return `this answer was picked and could not be checked; ${chance}`
  const missing = verdicts.length === 0 ? ', and no verdict on it is in this receipt' : ''
  return `this answer was among those checked${missing}; ${chance}`
}
