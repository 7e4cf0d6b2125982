import { expect, test } from 'vitest'
import { durationText } from './duration-text.ts'

test('durations are said as OpenAI says them', () => {
  expect([80, 1_000, 1_500].map(durationText)).toEqual(['80ms', '1s', '1.500s'])
})
