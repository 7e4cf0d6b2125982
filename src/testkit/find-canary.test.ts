import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { findCanary } from './find-canary.ts'
import { temporaryFolder } from './temporary-folder.ts'

const canary = 'the canary sings at 5:24'

test('a canary is found however it was written down, and nowhere else', () => {
  using folder = temporaryFolder()
  mkdirSync(path.join(folder.path, 'deep/er'), { recursive: true })
  const forms: Record<string, string | Buffer> = {
    plain: `{"prompt":"${canary}"}`,
    'deep/er/binary': Buffer.concat([Buffer.alloc(9_000, 255), Buffer.from(canary), Buffer.alloc(9)]),
    utf16: Buffer.from(canary, 'utf16le'),
    hex: Buffer.from(canary).toString('hex'),
    base64: Buffer.from(canary).toString('base64'),
    base64shifted: Buffer.from(`x${canary} and more`).toString('base64'),
    base64url: Buffer.from(`xy${canary} and more`).toString('base64url'),
  }
  for (const [name, text] of Object.entries(forms)) writeFileSync(path.join(folder.path, name), text)
  writeFileSync(path.join(folder.path, 'innocent'), gzipSync('a quiet bird'))
  const found = findCanary(folder.path, canary).map((file) => path.relative(folder.path, file))
  expect(found.sort()).toEqual(Object.keys(forms).sort())
  expect(findCanary(folder.path, 'another bird')).toEqual([])
})
