import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { packageRoot } from '#config'

/** The command as anybody runs it; a refusal comes back as its exit code and stderr. */
async function lab(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const command = ['-C', 'lichen-source', path.join(packageRoot, 'src/bin/lichen.ts'), 'lab', ...args]
  try {
    return { code: 0, ...(await promisify(execFile)(process.execPath, command)) }
  } catch (error) {
    return error as { code: number; stdout: string; stderr: string }
  }
}

const short = ['--requests', '8000', '--cases', '10']

test('a script reads false convictions at the top, and each adversary by its name', async () => {
  const { code, stdout, stderr } = await lab(...short, '--adversary', 'cached', '--json')
  expect([code, stderr]).toEqual([0, ''])
  const result = JSON.parse(stdout)
  expect(result.false_convictions).toBe(0)
  expect(Object.keys(result.adversaries)).toEqual(['cached'])
  const { delay_mean, delay_p95, check_rate, attacker_profit } = result.adversaries.cached
  expect(delay_mean).toBeLessThan(20)
  expect(delay_p95).toBeGreaterThan(delay_mean)
  expect(check_rate).toBeGreaterThan(0.9)
  expect(attacker_profit).toBeLessThan(0)
})

test('a person reads a table, what honest workers came to, and which goals are met', async () => {
  const { stdout } = await lab(...short, '--adversary', 'false_accuser', '--rate', '0.5')
  expect(stdout).toMatch(/^adversary +caught +mean/)
  expect(stdout).toMatch(/^false_accuser +4\/4/m)
  expect(stdout).toMatch(/^Honest workers: 0 false convictions/m)
  expect(stdout).toMatch(/^met +false convictions: 0, at most 0$/m)
})

test('too few honest workers, a rate above 1 and a stranger’s name are refused', async () => {
  const few = await lab('--workers', '5')
  expect(few).toMatchObject({ code: 2, stderr: expect.stringContaining('--workers 7') })
  for (const wrong of [
    ['--rate', '1.5'],
    ['--adversary', 'ghost'],
  ])
    expect((await lab(...wrong)).code).toBe(2)
})
