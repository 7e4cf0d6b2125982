import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'

const root = path.join(import.meta.dirname, '..')
const folder = path.join(root, 'docs/coding/receipt')

function verify(...args: string[]): Promise<{ code: number; out: string }> {
  return new Promise((resolve) => {
    execFile(path.join(root, 'bin/lichen'), ['verify', ...args], { cwd: folder }, (error, out) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, out })
    })
  })
}

test('the receipt in the documentation is a real one, and verifies as the page says', async () => {
  const page = readFileSync(path.join(root, 'docs/coding/verify-a-receipt.md'), 'utf8')
  const pool = page.match(/--pool ([0-9a-f]{64})/)?.[1] ?? ''
  const { code, out } = await verify('receipt.json', '--response', 'answer.json', '--pool', pool)
  expect(code).toBe(0)
  expect(page).toContain(out.trim())
})

test('with one digit of its price changed it does not', async () => {
  const changed = mkdtempSync(path.join(os.tmpdir(), 'lichen-receipt-'))
  const file = path.join(changed, 'receipt.json')
  writeFileSync(
    file,
    readFileSync(path.join(folder, 'receipt.json'), 'utf8').replace('"price":"3000"', '"price":"3001"'),
  )
  expect((await verify(file)).code).toBe(1)
  rmSync(changed, { recursive: true })
})
