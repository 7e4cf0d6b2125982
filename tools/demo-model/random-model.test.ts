import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { openModel } from './demo-model.ts'
import { halfBits } from './gguf.ts'
import { writeRandomModel } from './random-model.ts'

const folder = mkdtempSync(join(tmpdir(), 'lichen-random-model-'))
afterAll(() => rmSync(folder, { recursive: true }))

const small = { dim: 64, layers: 2, heads: 4, kvHeads: 2, ff: 128, context: 512, seed: 1 }

test.each(['f32', 'f16', 'q8_0'] as const)(
  'llama.cpp loads a random %s model and it never stops talking',
  async (quant) => {
    const path = join(folder, `${quant}.gguf`)
    writeRandomModel(path, { ...small, quant })
    await using opened = await openModel(path)
    expect(opened.model.trainContextSize).toBe(small.context)
    expect(await opened.answer([{ role: 'user', content: 'hello' }])).toBeUndefined()
  },
)

test('a seed names one model: the same bytes again, other bytes for another seed', () => {
  const [one, again, other] = [1, 1, 2].map((seed, n) => {
    const path = join(folder, `seed-${n}.gguf`)
    writeRandomModel(path, { ...small, seed })
    return readFileSync(path)
  })
  expect(again?.equals(one ?? Buffer.alloc(0))).toBe(true)
  expect(other?.equals(one ?? Buffer.alloc(0))).toBe(false)
})

test('heads that do not fit the width are refused before anything is written', () => {
  expect(() => writeRandomModel(join(folder, 'never.gguf'), { ...small, heads: 3 })).toThrow(RangeError)
})

test('half-precision bits are those of IEEE 754', () => {
  const cases: [number, number][] = [
    [0, 0x0000],
    [-0, 0x8000],
    [1, 0x3c00],
    [-2, 0xc000],
    [0.1, 0x2e66],
    [65504, 0x7bff],
    [65519.996, 0x7bff],
    [65520, 0x7c00],
    [1e9, 0x7c00],
    [Number.NaN, 0x7e00],
    [2 ** -14, 0x0400],
    [2 ** -24, 0x0001],
    [2 ** -25, 0x0000],
    [3 * 2 ** -25, 0x0002],
    [1 + 2 ** -11, 0x3c00],
    [1 + 3 * 2 ** -11, 0x3c02],
  ]
  for (const [value, bits] of cases) expect(halfBits(value).toString(16), String(value)).toBe(bits.toString(16))
})
