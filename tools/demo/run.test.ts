import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { expect, test } from 'vitest'

const run = (file: string, args: readonly string[]) =>
  spawnSync(process.execPath, ['-C', 'lichen-source', path.join(import.meta.dirname, file), ...args], {
    encoding: 'utf8',
  })

test.each([
  ['demo', 'run.ts', [['--minutes', '0'], ['--minutes', 'ten'], ['--fast']]],
  ['demo:federation', 'federation/run.ts', [['--cut', '5'], ['--cut', 'long'], ['--pools', '4'], ['--fast']]],
])('%s says what it will do, and refuses what it does not know before it starts anything', (name, file, wrong) => {
  const help = run(file, ['--help'])
  expect([help.status, help.stderr]).toEqual([0, ''])
  expect(help.stdout).toContain(`npm run ${name}`)
  for (const args of wrong) {
    const refused = run(file, args)
    expect([refused.status, refused.stdout]).toEqual([2, ''])
    expect(refused.stderr).toContain(args[0])
  }
})
