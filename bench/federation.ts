/**
 * Bytes and time to find out how two sets of facts differ: the rateless sketch of src/federation/facts against the bound of 32 bytes a
 * difference and against range-based reconciliation (16-way splits, 16-byte fingerprints, short ids) of scattered differences.
 * In memory, one process, no network.
 * Then what signed requests and garbage cost at the door of a pool, beside plain Fastify in the same process, and how long it takes until a
 * revoked pool's stream has ended (bench/federation/). Writes bench/results/federation.json; asserts nothing.
 *
 *   npm run bench:federation               100,000 and 1,000,000 facts, 10, 1,000 and 100,000 differences
 *   npm run bench:federation -- light      100,000 facts, 10 and 1,000 differences; fewer requests
 *   npm run bench:federation -- requests   the door alone; the rows about facts stay as they were
 */
import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import {
  Cells,
  cellBytes,
  concatCells,
  decodeDifference,
  type Ids,
  Sketch,
  shortIds,
} from '../src/federation/facts/sketch.ts'
import { factLimits } from '../src/federation/limits.ts'
import { measureRequests } from './federation/requests.ts'

const light = process.argv.includes('light')
const doorOnly = process.argv.includes('requests')
const file = new URL('results/federation.json', import.meta.url)
const sizes = light ? [100_000] : [100_000, 1_000_000]
const differences = light ? [10, 1_000] : [10, 1_000, 100_000]
const key = randomBytes(32)
const seconds = (since: number) => Math.round(performance.now() - since) / 1_000
const random = (n: number) => {
  const bytes = randomBytes(n * 32)
  return Array.from({ length: n }, (_, at) => bytes.subarray(32 * at, 32 * at + 32))
}

/** As src/federation/facts/reconcile.ts asks. */
function nextCells(size: number): number {
  const wanted = size === 0 ? factLimits.cellsFirst : size < factLimits.cellsDoubledMax ? size : Math.ceil(size / 4)
  return Math.min(wanted, factLimits.cellsPerRoundMax)
}

function bySketch(a: readonly Buffer[], b: readonly Buffer[]) {
  const start = performance.now()
  const [left, right] = [new Sketch(shortIds(a, key)), new Sketch(shortIds(b, key))]
  const hashed = seconds(start)
  const [theirs, ours]: [Cells[], Cells[]] = [[], []]
  for (let size = 0, rounds = 1; ; rounds++) {
    const count = nextCells(size)
    theirs.push(Cells.fromBytes(left.take(count).toBytes()))
    ours.push(right.take(count))
    size += count
    const found = decodeDifference(concatCells(theirs), concatCells(ours))
    if (!found) continue
    const bytes = size * cellBytes
    const onWire = Math.ceil((bytes * 4) / 3)
    return {
      found: found.first.length + found.second.length,
      cells: size,
      rounds,
      bytes,
      onWire,
      hashed,
      seconds: seconds(start),
    }
  }
}

/** Sorted ids as one number each: 53 bits tell a million apart. */
const sortedIds = (ids: Ids) =>
  Float64Array.from(
    { length: ids.length / 2 },
    (_, n) => (ids[2 * n] as number) * 2 ** 21 + ((ids[2 * n + 1] as number) >>> 11),
  ).sort()

function byRanges(a: readonly Buffer[], b: readonly Buffer[]) {
  const [left, right] = [sortedIds(shortIds(a, key)), sortedIds(shortIds(b, key))]
  const at = (list: Float64Array, value: number) => {
    let [low, high] = [0, list.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if ((list[middle] as number) < value) low = middle + 1
      else high = middle
    }
    return low
  }
  let bytes = 0
  const same = (l: Float64Array, r: Float64Array) => l.length === r.length && l.every((value, n) => value === r[n])
  const compare = (from: number, to: number) => {
    const l = left.subarray(at(left, from), at(left, to))
    const r = right.subarray(at(right, from), at(right, to))
    bytes += 16 // its fingerprint
    if (same(l, r)) return
    if (l.length <= 16) {
      bytes += 8 * l.length // the ids themselves
      return
    }
    for (let part = 0; part < 16; part++)
      compare(from + ((to - from) * part) / 16, from + ((to - from) * (part + 1)) / 16)
  }
  compare(0, 2 ** 53)
  return bytes
}

const rows: object[] = []
for (const facts of doorOnly ? [] : sizes) {
  const common = random(facts)
  for (const difference of differences) {
    const [a, b] = [random(Math.ceil(difference / 2)), random(Math.floor(difference / 2))]
    const sketch = bySketch([...common, ...a], [...common, ...b])
    const ranges = byRanges([...common, ...a], [...common, ...b])
    const row = {
      facts,
      difference,
      ...sketch,
      bytesPerDifference: Number((sketch.bytes / difference).toFixed(1)),
      ofThe32ByteBound: Number((sketch.bytes / difference / 32).toFixed(2)),
      rangeBytes: ranges,
      rangesOverSketch: Number((ranges / sketch.bytes).toFixed(1)),
    }
    if (sketch.found !== difference) throw new Error(`found ${sketch.found} of ${difference}`)
    rows.push(row)
    console.log(JSON.stringify(row))
  }
}
const [cpu] = cpus()
const machine = { at: new Date().toISOString(), cpu: cpu?.model, cores: cpus().length, light }
const before = doorOnly ? JSON.parse(readFileSync(file, 'utf8')) : { ...machine, rows }
const result = { ...before, door: { ...machine, ...(await measureRequests(light)) } }
writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`)
