import { createHash } from 'node:crypto'
import { z } from 'zod'
import { CompactTree, leafHash } from '#crypto'
import type { DisclosureLine } from './disclosure.ts'
import { epochLeaf, toldLeaf } from './epochs.ts'
import { judgeDisclosure, type SamplingAudit } from './judge-disclosure.ts'

/** The log of a pool as anybody can read it, and the tree its pool has signed. */
export interface PublishedLog {
  readonly size: number
  readonly root: Buffer
  /** Leaf hashes from the first on, {@link PublishedLog.size} of them. */
  leaves(): AsyncIterable<Buffer>
}

const hex = (bytes: number) =>
  z.string().regex(new RegExp(`^[0-9a-f]{${2 * bytes}}$`), `${2 * bytes} lowercase hex digits`)
const ppm = z.int().min(0).max(1_000_000)
const lineSchema = z.union([
  z.strictObject({ lichen: z.literal('epoch_disclosure/1'), epoch: z.int().min(0), key: hex(32), commitment: hex(32) }),
  z.strictObject({ rates: hex(32), table: z.array(z.tuple([hex(32), z.string(), ppm])) }),
  z.strictObject({
    job: z.string(),
    order: hex(32),
    opening: hex(104),
    statements: z.array(
      z.strictObject({
        worker: hex(32),
        model: z.string(),
        statement: hex(32),
        q: ppm,
        selected: z.boolean(),
        check: z.string().nullable(),
        waived: z.string().nullable(),
      }),
    ),
  }),
])

const no = (problem: string): SamplingAudit => ({ ok: false, problem })

/** Thrown out of the reading of lines, for the sentence. */
class Unreadable extends Error {}

/**
 * What a stranger can find out about an epoch with nothing but what a pool shows to everybody: that each decision is what the key says;
 * that the log committed to that key before the first order of the epoch and to this text afterwards; that it holds each order with the
 * sampling that is told. `lines`: of the disclosure, without line feeds.
 */
export async function judgePublished(
  epoch: number,
  lines: AsyncIterable<Buffer>,
  log: PublishedLog,
): Promise<SamplingAudit> {
  const text = createHash('sha256')
  const orders = new Set<string>()
  const facts = {
    commitment: Buffer.alloc(32),
    holds: async (leaves: readonly Buffer[]) => {
      for (const leaf of leaves) orders.add(leaf.toString('hex'))
      return true
    },
  }
  let key: Buffer | undefined
  async function* read(): AsyncGenerator<DisclosureLine> {
    for await (const bytes of lines) {
      text.update(bytes).update('\n')
      const line = lineSchema.safeParse(jsonOf(bytes))
      if (!line.success) throw new Unreadable(`A line of the disclosure cannot be read: ${bytes.subarray(0, 80)}`)
      if ('lichen' in line.data) {
        if (key || line.data.epoch !== epoch) throw new Unreadable(`The disclosure is not about epoch ${epoch} alone.`)
        key = Buffer.from(line.data.key, 'hex')
        facts.commitment = Buffer.from(line.data.commitment, 'hex')
      }
      yield line.data
    }
  }
  try {
    const judged = await judgeDisclosure(read(), facts)
    if (!judged.ok || !key) return judged
    const told = { epoch, key, disclosure: text.digest() }
    const problem = await problemInLog(log, { told, commitment: facts.commitment, orders })
    return problem === undefined ? judged : no(problem)
  } catch (error) {
    if (error instanceof Unreadable) return no(error.message)
    throw error
  }
}

interface Wanted {
  readonly told: Parameters<typeof toldLeaf>[0]
  readonly commitment: Buffer
  /** Leaf hashes in hex. */
  readonly orders: Set<string>
}

async function problemInLog(log: PublishedLog, { told, commitment, orders }: Wanted): Promise<string | undefined> {
  const { epoch } = told
  const [opens, tells] = [epochLeaf(epoch, commitment), toldLeaf(told)].map(({ data }) => leafHash(data))
  const tree = new CompactTree()
  let [isOpen, isTold, tooEarly] = [false, false, false]
  for await (const leaf of log.leaves()) {
    tree.append(leaf)
    if (opens?.equals(leaf)) isOpen = true
    else if (tells?.equals(leaf)) isTold = true
    else if (orders.delete(leaf.toString('hex')) && !isOpen) tooEarly = true
  }
  if (tree.size !== log.size || !tree.root().equals(log.root)) return 'The log is not the one the pool has signed.'
  if (!isOpen) return `The log does not commit to the key of epoch ${epoch}.`
  if (tooEarly) return `The log committed to the key of epoch ${epoch} only after the first order of it.`
  if (!isTold) return `What is told of epoch ${epoch} is not what the log says was told.`
  return orders.size === 0 ? undefined : 'An order of the epoch is not in the log with the sampling that is told.'
}

function jsonOf(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString())
  } catch {
    return undefined
  }
}
