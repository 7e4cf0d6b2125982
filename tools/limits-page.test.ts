import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { limitsPage, limitsPagePath } from './limits-page.ts'

test('every limit of the code stands in the reference with its value and its reason', async () => {
  const page = await limitsPage()
  expect(readFileSync(limitsPagePath, 'utf8'), 'run `npm run reference`').toBe(page)
  const unexplained = page.split('\n').filter((line) => /\|\s*\|$/.test(line))
  expect(unexplained).toEqual([])
})
