import { globSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { packageRoot } from '#config'
import { PoolError } from '#protocol'
import { explain, PoolRefusal } from './problem.ts'

test.each([
  [
    'There is no worker nosuch. See `lichen workers ls`; give more of the id.',
    'There is no worker nosuch.',
    'See `lichen workers ls`; give more of the id.',
  ],
  [
    'The pool at 127.0.0.1 says no, e.g. today. `lichen doctor` looks closer. Then ask again.',
    'The pool at 127.0.0.1 says no, e.g. today.',
    '`lichen doctor` looks closer. Then ask again.',
  ],
  ['It says no', 'It says no', '`lichen doctor` looks closer.'],
])('what a pool answered is told as what is wrong and what to do: %s', (text, message, fix) => {
  expect(explain(new PoolRefusal('conflict', text))).toMatchObject({ code: 'conflict', message, fix, exitCode: 1 })
})

test('a refusal from elsewhere that says not what to do is told with something to do', () => {
  expect(explain(new PoolError('conflict', 'It says no.', '')).fix).toMatch(/\w/)
})

test('nothing here refuses without saying what to do', () => {
  const empty =
    /\b(?:PoolError|CommandProblem|ConfigError|ManifestError|refus\w+)\((?:[^()]|\([^()]*\))*,\s*''\s*[,)]|\bfix(?:: string)? ?[:=] ?''/
  const files = globSync('src/**/*.ts', { cwd: packageRoot, exclude: ['src/**/*.test.ts', 'src/testkit/**'] })
  const silent = files.filter((file) => {
    // of a transfer that went well
    const text = readFileSync(path.join(packageRoot, file), 'utf8').replace("code: null, message: '', fix: ''", '')
    return empty.test(text)
  })
  expect(files.length).toBeGreaterThan(500)
  expect(silent).toEqual([])
})
