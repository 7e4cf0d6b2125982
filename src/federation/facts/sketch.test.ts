import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { Cells, concatCells, decodeDifference, Sketch, shortIds } from './sketch.ts'

const random = (n: number) => Array.from({ length: n }, () => randomBytes(32))
const key = randomBytes(32)
const cellsOf = (hashes: Buffer[], count: number) => new Sketch(shortIds(hashes, key)).take(count)
const pairs = (hashes: Buffer[]) => {
  const ids = shortIds(hashes, key)
  return hashes.map((_, n) => [ids[2 * n], ids[2 * n + 1]])
}
const sorted = (list: readonly unknown[]) => list.map(String).sort()

test.each([
  [0, 0],
  [1, 0],
  [3, 4],
  [60, 0],
  [150, 250],
])('two sets that differ by %i and %i are told apart, however much they share', (left, right) => {
  const [common, a, b] = [random(2_000), random(left), random(right)]
  const cells = Math.max(4, Math.ceil((left + right) * 2.5) + 12)
  const found = decodeDifference(cellsOf([...common, ...a], cells), cellsOf([...b, ...common], cells))
  expect(found && [sorted(found.first), sorted(found.second)]).toEqual([sorted(pairs(a)), sorted(pairs(b))])
})

test('too few cells are no wrong answer but none', () => {
  expect(decodeDifference(cellsOf(random(200), 100), cellsOf(random(3), 100))).toBeUndefined()
  expect(decodeDifference(new Cells(0), new Cells(0))).toBeUndefined()
})

test('cells go on where they ended, and survive the wire', () => {
  const hashes = random(500)
  const whole = cellsOf(hashes, 100).toBytes()
  const sketch = new Sketch(shortIds(hashes, key))
  expect(concatCells([sketch.take(40), sketch.take(60)]).toBytes()).toEqual(whole)
  expect(Cells.fromBytes(whole).toBytes()).toEqual(whole)
})

test('forged cells end', () => {
  for (let n = 0; n < 50; n++)
    expect(decodeDifference(Cells.fromBytes(randomBytes(14 * 200)), cellsOf(random(9), 200))).toBeUndefined()
  // a cell that claims to hold the same id everywhere
  const one = cellsOf(random(1), 1).toBytes()
  const same = Buffer.concat(Array.from({ length: 500 }, () => one))
  expect(decodeDifference(Cells.fromBytes(same), new Cells(500))).toBeUndefined()
})
