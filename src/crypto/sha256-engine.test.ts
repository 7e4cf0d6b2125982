import { hash, randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { sha256Engine, shortBytesMax, takeRoom } from './sha256-engine.ts'

test('every short message has the digest that node:crypto gives it, wherever it lies', () => {
  const { bytes, digest } = sha256Engine()
  for (const shift of [0, 1, 3]) {
    const room = takeRoom(64)
    for (let length = 0; length <= shortBytesMax - shift; length++) {
      const message = randomBytes(length)
      bytes.fill(0xff, room, room + 320)
      message.copy(bytes, room + shift)
      digest(room + shift, length, room + 256)
      expect(bytes.toString('hex', room + 256, room + 288)).toBe(hash('sha256', message, 'hex'))
    }
  }
})

test('a digest may be written over the message it is of', () => {
  const { bytes, digest } = sha256Engine()
  const room = takeRoom()
  bytes.write('lichen', room)
  digest(room, 6, room)
  expect(bytes.toString('hex', room, room + 32)).toBe(hash('sha256', 'lichen', 'hex'))
})

test('no caller is given room that is not there', () => {
  expect(() => takeRoom(65_536)).toThrow(RangeError)
})
