import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { expect, test } from 'vitest'
// @ts-expect-error plain JavaScript, shared with tools/check.mjs
import { staticChecks } from './static-checks.mjs'

const root = path.join(import.meta.dirname, '..')

test.each(staticChecks as [string, string, string[]][])(
  'the code passes: %s',
  (_what, script, args) => {
    const result = spawnSync(process.execPath, [path.join(root, script), ...args], { cwd: root, encoding: 'utf8' })
    expect(result.status, result.stdout + result.stderr).toBe(0)
  },
  240_000,
)
