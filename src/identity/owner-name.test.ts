import { describe, expect, test } from 'vitest'
import { ownerNameSchema } from './owner-name.ts'

describe('a name', () => {
  test.each(['ada', 'Ada Lovelace', 'Žofie', '山田', 'مريم', 'a/b', '👩‍🔬', 'x'.repeat(200)])('%s is kept', (name) => {
    expect(ownerNameSchema.parse(` ${name} `)).toBe(name)
  })

  test.each([
    ['nothing', ' '],
    ['too much', 'x'.repeat(201)],
    ['a line end', 'ada\nowner'],
    ['an escape sequence', 'ada\x1b[2J'],
    ['a C1 control', 'ada\u009b2J'],
    ['the null character', 'ada\0'],
    ['a direction override', 'ada\u202egnp.exe'],
    ['a direction isolate', 'ada\u2066'],
    ['a direction mark', 'ada\u200f'],
    ['a line separator', 'ada\u2028'],
    ['half of a pair', 'ada\ud800'],
  ])('of %s is refused', (_what, name) => {
    expect(ownerNameSchema.safeParse(name).success).toBe(false)
  })
})
