import { createHash } from 'node:crypto'
import { bytes, type Sql } from '#storage'
import { type DisclosureLine, discloseEpoch, disclosureText } from './disclosure.ts'
import { judgeDisclosure, type SamplingAudit } from './judge-disclosure.ts'
import { toldEpoch } from './told-epochs.ts'

/**
 * Decides everything again that was decided in an epoch. `onLine` hears the disclosure as it is read: all that a stranger
 * needs besides the log. @throws PoolError not_found when the epoch is unknown or not told yet.
 */
export async function auditSampling(
  sql: Sql,
  epoch: number,
  onLine: (text: Buffer) => void = () => {},
): Promise<SamplingAudit> {
  const { key, commitment, disclosure } = await toldEpoch(sql, epoch)
  const hash = createHash('sha256')
  async function* lines(): AsyncGenerator<DisclosureLine> {
    for await (const line of discloseEpoch(sql, { epoch, key, commitment })) {
      const text = disclosureText(line)
      hash.update(text)
      onLine(text)
      yield line
    }
  }
  const holds = async (leaves: readonly Buffer[]) => {
    const [found] = await sql<{ n: number }[]>`
      select count(distinct hash)::int as n from log_leaves where kind = 'order' and hash = any (${bytes(leaves)}::bytea[])`
    return found?.n === leaves.length
  }
  const result = await judgeDisclosure(lines(), { commitment, holds })
  if (!result.ok || hash.digest().equals(disclosure)) return result
  return {
    ok: false,
    problem: `What is on record of epoch ${epoch} is not what the pool told when it revealed the key.`,
  }
}
