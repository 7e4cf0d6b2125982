import { leafHash } from '#crypto'
import { decodeSamplingOpening, epochCommitment, orderLeafData, samplingCommitment, selects } from '#protocol'
import type { DisclosedStatement, DisclosureLine } from './disclosure.ts'
import { RateTable } from './rates.ts'

/** What was found in a disclosure. */
export interface SamplingCount {
  readonly receipts: number
  readonly statements: number
  readonly selected: number
  readonly checked: number
  readonly waived: number
}

/** What only the log can say. */
export interface DisclosureFacts {
  /** What the pool committed to before the epoch, by its log. */
  readonly commitment: Buffer
  /** Whether these leaf hashes of orders are all in the log. */
  holds(leaves: readonly Buffer[]): Promise<boolean>
}

export type SamplingAudit =
  | { readonly ok: true; readonly count: SamplingCount }
  | { readonly ok: false; readonly problem: string }

const leavesAtOnce = 500

/** Decides everything again that was decided in an epoch, from its disclosure alone. The first thing that is wrong, in a sentence. */
export async function judgeDisclosure(
  lines: AsyncIterable<DisclosureLine>,
  facts: DisclosureFacts,
): Promise<SamplingAudit> {
  const count = { receipts: 0, statements: 0, selected: 0, checked: 0, waived: 0 }
  const tables = new Map<string, RateTable>()
  let head: { epoch: number; key: Buffer } | undefined
  let leaves: Buffer[] = []
  const inLog = async () => {
    const all = leaves
    leaves = []
    return all.length === 0 || facts.holds(all)
  }
  const notLogged = no('An order of the epoch is not in the log with the sampling that is told.')
  for await (const line of lines) {
    if ('lichen' in line) {
      head = { epoch: line.epoch, key: Buffer.from(line.key, 'hex') }
      if (!epochCommitment(head.key).equals(facts.commitment)) {
        return no(`The key of epoch ${line.epoch} is not the one the pool committed to.`)
      }
    } else if ('rates' in line) {
      const table = new RateTable(line.table)
      if (table.root.toString('hex') !== line.rates)
        return no(`The check rates ${line.rates} are not those orders name.`)
      tables.set(line.rates, table)
    } else if (head) {
      const wrong = judgeReceipt(line, head, tables)
      if (wrong !== undefined) return no(wrong)
      count.receipts++
      for (const one of line.statements) countIn(count, one)
      const commitment = samplingCommitment(Buffer.from(line.opening, 'hex'))
      leaves.push(leafHash(orderLeafData(Buffer.from(line.order, 'hex'), commitment)))
      if (leaves.length >= leavesAtOnce && !(await inLog())) return notLogged
    }
  }
  if (!head) return no('The disclosure has no head.')
  return (await inLog()) ? { ok: true, count } : notLogged
}

const no = (problem: string): SamplingAudit => ({ ok: false, problem })

function judgeReceipt(
  { job, opening, statements }: Extract<DisclosureLine, { job: string }>,
  { epoch, key }: { readonly epoch: number; readonly key: Buffer },
  tables: ReadonlyMap<string, RateTable>,
): string | undefined {
  const bytes = Buffer.from(opening, 'hex')
  if (bytes.length !== 104) return `What opens the sampling of job ${job} cannot be read.`
  const fixed = decodeSamplingOpening(bytes)
  if (fixed.epoch !== epoch) return `Job ${job} belongs to epoch ${fixed.epoch}.`
  const table = tables.get(fixed.rates.toString('hex'))
  if (!table) return `The check rates of job ${job} are not told.`
  for (const { worker, model, statement, q, selected, check } of statements) {
    if (table.of(worker, model) !== q) {
      return `The statement ${statement} of job ${job} was sampled with ${q} parts per million, and its rate was ${table.of(worker, model)}.`
    }
    const owed = selects({ epochKey: key, statementHash: Buffer.from(statement, 'hex'), qPpm: q })
    if (owed !== selected)
      return `What was decided about statement ${statement} of job ${job} is not what its key says.`
    if (owed && check === null)
      return `Statement ${statement} of job ${job} was to be checked, and no check and no waiver is on record.`
  }
  return undefined
}

function countIn(
  count: { statements: number; selected: number; checked: number; waived: number },
  { selected, check, waived }: DisclosedStatement,
): void {
  count.statements++
  if (selected) count.selected++
  if (waived !== null) count.waived++
  else if (check !== null) count.checked++
}
