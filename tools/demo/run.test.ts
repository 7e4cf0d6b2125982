import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { expect, test } from 'vitest'

const demo = (...args: string[]) =>
  spawnSync(process.execPath, ['-C', 'lichen-source', path.join(import.meta.dirname, 'run.ts'), ...args], {
    encoding: 'utf8',
  })

test('the demo says what it will do, and refuses what it does not know before it starts anything', () => {
  const help = demo('--help')
  expect([help.status, help.stderr]).toEqual([0, ''])
  expect(help.stdout).toContain('npm run demo')
  for (const args of [['--minutes', '0'], ['--minutes', 'ten'], ['--fast']]) {
    const refused = demo(...args)
    expect([refused.status, refused.stdout]).toEqual([2, ''])
    expect(refused.stderr).toContain(args[0])
  }
})
