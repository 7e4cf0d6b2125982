import { globSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { packageRoot } from '#config'
import { explainIssue } from './explain-issue.ts'

function told(schema: z.ZodType, value: unknown): string {
  const issue = schema.safeParse({ key: value }).error?.issues[0]
  return issue ? explainIssue(issue, { key: value }).message : 'taken'
}

test('what a text should look like is said in words, not as a pattern', () => {
  const key = z.string().regex(/^[0-9a-f]{64}$/, '64 lowercase hex digits')
  expect(told(z.object({ key }), 'bb')).toBe("Invalid 'key': expected 64 lowercase hex digits.")
  expect(told(z.object({ key: z.iso.datetime() }), 'noon')).toMatch(/: expected a time in UTC, such as 2026-\S+Z\.$/)
  expect(told(z.object({ key: z.guid() }), 'bb')).toMatch(/: expected an id, such as [0-9a-f]{8}-\S+\.$/)
  expect(told(z.object({ key: z.base64('padded standard base64') }), '?')).toMatch(
    /: expected padded standard base64\.$/,
  )
  expect(told(z.object({ key: z.iso.date() }), 'noon')).toBe("Invalid 'key': expected a day, such as 2026-11-29.")
})

test('a value that is none of many is told all of them', () => {
  const many = Array.from({ length: 60 }, (_, n) => `a_rather_long_name_${n}`)
  expect(told(z.object({ key: z.enum(many) }), 'nope')).toContain("'a_rather_long_name_59'")
})

test('every text that is held against a pattern has words for it', () => {
  const files = globSync('src/**/*.ts', { cwd: packageRoot, exclude: ['src/**/*.test.ts'] })
  const held = files.flatMap((file) =>
    readFileSync(path.join(packageRoot, file), 'utf8')
      .split('\n')
      .flatMap((line, at, lines) =>
        line.includes('.regex(') ? [`${file}: ${line.trim()}${lines[at + 1]?.trim()}${lines[at + 2]?.trim()}`] : [],
      ),
  )
  // the search finds them: 31 as of writing
  expect(held.length).toBeGreaterThan(25)
  // a pattern ends with a slash and its flags, or is a name or made by RegExp
  expect(held.filter((line) => !/\.regex\((?:\/.*\/[a-z]*|\w+|new RegExp\(.*\)), ?['`][^'`]+['`]/.test(line))).toEqual(
    [],
  )
})
