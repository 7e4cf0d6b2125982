import { expect, test } from 'vitest'
import { generateIdentity } from '#crypto'
import { systemRuntime } from '#runtime'
import { readBundle, writeBundle } from './bundle.ts'

const key = generateIdentity(systemRuntime).publicKey

test('a pool is handed over on a slip of paper, with or without an address', () => {
  for (const url of ['https://pool.example:8443', '']) {
    const text = writeBundle({ key, url })
    expect(text).toMatch(/^\S{60,}$/)
    expect(readBundle(`${text}\n`)).toEqual({ key, url })
  }
})

test('a slip of the pen is found, and a key that is everybody’s is refused', () => {
  const text = writeBundle({ key, url: 'https://pool.example' })
  for (const wrong of [
    text.replace('pool.example', 'p0ol.example'),
    text.slice(0, -1),
    text.toUpperCase(),
    'lichen-pool:1:',
  ])
    expect(() => readBundle(wrong)).toThrow('no whole bundle')
  const smallOrder = Buffer.alloc(32)
  smallOrder[0] = 1
  expect(() => readBundle(writeBundle({ key: smallOrder, url: '' }))).toThrow('no whole bundle')
})
