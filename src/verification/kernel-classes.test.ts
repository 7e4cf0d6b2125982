import { expect, test } from 'vitest'
import { type Measured, sortIntoClasses } from './kernel-classes.ts'

const fresh = (hash: string) => `new ${hash}`
const sorted = (...all: [string, string, string?][]) => {
  const measured: Measured[] = all.map(([worker, hash, before]) => ({ worker, hash, before }))
  return Object.fromEntries(sortIntoClasses(measured, fresh))
}

test('equal hashes are one class, others are not', () => {
  expect(sorted(['ann', '1'], ['bob', '1'], ['carla', '2'])).toEqual({ ann: 'new 1', bob: 'new 1', carla: 'new 2' })
})

test('a newcomer joins the class whose member agrees with it', () => {
  expect(sorted(['ann', '1', 'avx'], ['bob', '2', 'sse'], ['carla', '2'])).toEqual({
    ann: 'avx',
    bob: 'sse',
    carla: 'sse',
  })
})

test('a worker with another build leaves its class; those who agree keep the name', () => {
  expect(sorted(['ann', '1', 'avx'], ['bob', '2', 'avx'], ['carla', '1', 'avx'])).toEqual({
    ann: 'avx',
    bob: 'new 2',
    carla: 'avx',
  })
  expect(sorted(['ann', '1', 'avx'], ['bob', '2', 'avx'], ['carla', '2', 'sse'])).toEqual({
    ann: 'avx',
    bob: 'sse',
    carla: 'sse',
  })
})

test('of two who disagree the one that others agree with keeps the name', () => {
  expect(sorted(['ann', '1', 'avx'], ['bob', '2', 'avx'], ['carla', '2'])).toEqual({
    ann: 'new 1',
    bob: 'avx',
    carla: 'avx',
  })
})

test('classes that agree become one, whatever the order they are named in', () => {
  const all: [string, string, string?][] = [
    ['ann', '1', 'a'],
    ['bob', '1', 'b'],
    ['carla', '1', 'b'],
  ]
  expect(sorted(...all)).toEqual({ ann: 'b', bob: 'b', carla: 'b' })
  expect(sorted(...all.toReversed())).toEqual(sorted(...all))
})
