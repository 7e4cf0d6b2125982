import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { loadOperations } from './conformance.ts'

const page = readFileSync(new URL('../../../docs/reference/conformance.md', import.meta.url), 'utf8')
const examples = [...page.matchAll(/```json\n(.+)\n(.+)\n```/g)].map(([, asked = '', answered = '']) => {
  const { id, op, input }: { id: number; op: string; input: unknown } = JSON.parse(asked)
  return { id, op, input, answer: JSON.parse(answered) }
})
const ops = await loadOperations()

test.each(examples)('example $id of the manual ($op) gives the answer printed there', ({ id, op, input, answer }) => {
  expect({ id, ...ops[op]?.(input) }).toEqual(answer)
})

test('every operation has a heading and an example in the manual, and no other has', () => {
  expect([...new Set(examples.map(({ op }) => op))].sort()).toEqual(Object.keys(ops).sort())
  expect([...page.matchAll(/^## (.+)$/gm)].map(([, op]) => op).sort()).toEqual(Object.keys(ops).sort())
})
