import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { temporaryFolder } from '../../testkit/temporary-folder.ts'
import { placeOrBundleIn } from './bundle-file.ts'

test('a pool is handed over as a file, which may hold all that its admin saw', async () => {
  using folder = temporaryFolder()
  const file = path.join(folder.path, 'anna.txt')
  const bundle = 'lichen-pool:1:6W0sYUU1K2wr1Cc8Bm-5CYKkqOWcR4Dd5MtcAF4l-v4:af67b457:https://anna.example'
  writeFileSync(file, `POOL  anna\nkey   6W0s\n\n${bundle}\r\n`)
  expect(await placeOrBundleIn(file)).toBe(bundle)
  for (const typed of [bundle, 'https://anna.example', path.join(folder.path, 'none.txt')])
    expect(await placeOrBundleIn(typed)).toBe(typed)
  writeFileSync(file, 'POOL  anna\n')
  await expect(placeOrBundleIn(file)).rejects.toThrow('No line of')
})
