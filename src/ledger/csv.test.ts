import { expect, test } from 'vitest'
import { csv } from './csv.ts'

test('no cell is a formula to a spreadsheet, and amounts stay numbers', () => {
  expect(csv([['=HYPERLINK("http://x")', '+1', '@SUM(A1)', '-2+3', '-101', '-', '\tx']])).toBe(
    `"'=HYPERLINK(""http://x"")",'+1,'@SUM(A1),'-2+3,-101,'-,'\tx\r\n`,
  )
})

test('commas, quotes and ends of lines stay inside their cell', () => {
  expect(csv([['a,b', 'say "x"', 'two\r\nlines'], ['plain']])).toBe('"a,b","say ""x""","two\r\nlines"\r\nplain\r\n')
})
