import { z } from 'zod'
import type { PoolId } from '#protocol'
import { factLimits } from '../limits.ts'
import type { Called, NotCalled } from '../outbound.ts'
import { readFact } from './fact.ts'
import { factPaths } from './fact-desk.ts'
import type { Facts } from './facts.ts'
import { Cells, cellBytes, concatCells, decodeDifference, Sketch, shortIds } from './sketch.ts'

/** Asks one pool one thing; a signed answer or why there is none. */
export type Send = (
  peer: PoolId,
  path: string,
  body: object,
  signal: AbortSignal,
) => Promise<Pick<Called, 'ok' | 'body'> | NotCalled>

export interface Reconciled {
  /** What was compared is the same now, but for what is refused. */
  readonly agreed: boolean
  readonly kept: number
  readonly refused: number
  readonly rounds: number
  /** Why it ended before; null: it did not. */
  readonly problem: string | null
}

const facts = z.array(z.base64().max(Math.ceil((factLimits.factBytesMax * 4) / 3) + 4)).max(factLimits.tailFactsMax)
const tailSchema = z.object({
  facts,
  next: z.string().regex(/^(0|[1-9]\d{0,17})$/, 'a whole number in decimal'),
  more: z.boolean(),
})
const sketchSchema = z.object({ key: z.base64().length(44), cells: z.base64() })
const getSchema = z.object({ facts })

class GiveUp extends Error {}

/**
 * Takes from one peer what this pool lacks: first what is new in the order it came there, then, by a sketch, whatever else differs.
 * It ends by itself, whatever the peer answers: after {@link factLimits.roundsMax} rounds, each with at most a megabyte.
 */
export async function reconcile(
  own: Facts,
  peer: PoolId,
  after: bigint,
  send: Send,
  signal: AbortSignal,
): Promise<Reconciled & { readonly next: bigint }> {
  const done = { kept: 0, refused: 0, rounds: 0, next: after }
  const ask = async <S extends z.ZodType>(path: string, body: object, schema: S): Promise<z.infer<S>> => {
    signal.throwIfAborted()
    if (done.rounds++ >= factLimits.roundsMax) throw new GiveUp(`it did not end after ${factLimits.roundsMax} rounds`)
    const answer = await send(peer, path, body, signal)
    if (!answer.ok) throw new GiveUp(answer.message)
    const read = schema.safeParse(answer.body)
    if (!read.success) throw new GiveUp(`its answer at ${path} is none`)
    return read.data
  }
  const take = async (list: readonly string[]) => {
    const { kept, refused } = await own.take(peer, list.map(fromBase64))
    done.kept += kept.length
    done.refused += refused.length
  }
  try {
    await readTail(ask, take, done)
    await readDifference(own, peer, ask, take)
    return { ...done, agreed: true, problem: null }
  } catch (error) {
    if (!(error instanceof GiveUp)) throw error
    return { ...done, agreed: false, problem: error.message }
  }
}

type Ask = <S extends z.ZodType>(path: string, body: object, schema: S) => Promise<z.infer<S>>
type Take = (list: readonly string[]) => Promise<void>

async function readTail(ask: Ask, take: Take, done: { next: bigint }): Promise<void> {
  for (;;) {
    const { facts: list, next, more } = await ask(factPaths.tail, { after: String(done.next) }, tailSchema)
    await take(list)
    // a pool that went back to a backup has fewer places than were read: the sketch finds what differs
    if (BigInt(next) <= done.next) return
    done.next = BigInt(next)
    if (!more) return
  }
}

async function readDifference(own: Facts, peer: PoolId, ask: Ask, take: Take): Promise<void> {
  const hashes = await own.hashes()
  const aside = await own.quarantined(peer)
  let sketch: Sketch | undefined
  let theirKey = ''
  const theirs: Cells[] = []
  const ours: Cells[] = []
  for (let size = 0; size < factLimits.cellsMax; ) {
    const count = nextCells(size)
    const answer = await ask(factPaths.sketch, { from: size, count }, sketchSchema)
    const cells = Buffer.from(answer.cells, 'base64')
    if (cells.length !== count * cellBytes) throw new GiveUp('it answered with another number of cells')
    if (theirKey !== '' && answer.key !== theirKey) throw new GiveUp('the day changed; next time')
    theirKey = answer.key
    // what is refused of it counts as had: it is not asked for again
    sketch ??= new Sketch(shortIds(unique([...hashes, ...aside]), Buffer.from(theirKey, 'base64')))
    theirs.push(Cells.fromBytes(cells))
    ours.push(sketch.take(count))
    size += count
    const found = decodeDifference(concatCells(theirs), concatCells(ours))
    if (!found) continue
    await fetchAll(found.first, theirKey, ask, take)
    return
  }
  throw new GiveUp('the sets differ by more than a sketch shows')
}

async function fetchAll(missing: readonly (readonly [number, number])[], key: string, ask: Ask, take: Take) {
  const left = [...missing]
  while (left.length > 0) {
    const some = left.slice(0, factLimits.idsPerRoundMax)
    const ids = Buffer.alloc(some.length * 8)
    for (const [n, [high, low]] of some.entries()) ids.writeUInt32BE(low, ids.writeUInt32BE(high, 8 * n))
    const { facts: list } = await ask(factPaths.get, { key, ids: ids.toString('base64') }, getSchema)
    if (list.length === 0) return
    await take(list)
    const got = new Set(idTexts(list.map(fromBase64), key))
    const before = left.length
    for (let n = left.length - 1; n >= 0; n--) if (got.has(String(left[n]))) left.splice(n, 1)
    if (left.length === before) throw new GiveUp('it sent facts that were not asked for')
  }
}

function idTexts(wires: readonly Buffer[], key: string): string[] {
  const hashes = wires.flatMap((wire) => {
    const read = readFact(wire)
    return read.ok ? [Buffer.from(read.fact.hash, 'hex')] : []
  })
  const ids = shortIds(hashes, Buffer.from(key, 'base64'))
  return hashes.map((_, n) => `${ids[2 * n]},${ids[2 * n + 1]}`)
}

/** First few cells, then twice as many, later a quarter more: a round trip less costs at most a fifth of the cells. */
function nextCells(size: number): number {
  const wanted = size === 0 ? factLimits.cellsFirst : size < factLimits.cellsDoubledMax ? size : Math.ceil(size / 4)
  return Math.min(wanted, factLimits.cellsPerRoundMax, factLimits.cellsMax - size)
}

const fromBase64 = (text: string) => Buffer.from(text, 'base64')

function unique(hashes: readonly Buffer[]): Buffer[] {
  return [...new Map(hashes.map((hash) => [hash.toString('latin1'), hash])).values()]
}
