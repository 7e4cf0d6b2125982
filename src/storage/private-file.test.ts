import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { systemRuntime } from '#runtime'
import { temporaryFolder } from '../testkit/temporary-folder.ts'
import { replacePrivateFile, writeSynced } from './private-file.ts'

test('a private file is replaced as a whole, and only its owner may read it', async () => {
  using folder = temporaryFolder()
  const file = path.join(folder.path, 'membership.json')
  await writeFile(file, 'a longer text than the new one', { mode: 0o644 })
  await replacePrivateFile(file, 'new', systemRuntime)
  expect(await readFile(file, 'utf8')).toBe('new')
  expect((await stat(file)).mode & 0o777).toBe(0o600)
  expect(await readdir(folder.path)).toEqual(['membership.json'])
})

test('a file that cannot be replaced stays as it was, and no draft is left beside it', async () => {
  using folder = temporaryFolder()
  const place = path.join(folder.path, 'pool.key')
  await mkdir(path.join(place, 'something'), { recursive: true })
  await expect(replacePrivateFile(place, 'new', systemRuntime)).rejects.toThrow(/EISDIR|ENOTEMPTY|EEXIST/)
  expect(await readdir(folder.path)).toEqual(['pool.key'])
})

test('a file that must be new is never written over', async () => {
  using folder = temporaryFolder()
  const file = path.join(folder.path, 'admin.key')
  await writeSynced(file, 'first')
  await expect(writeSynced(file, 'second')).rejects.toMatchObject({ code: 'EEXIST' })
  expect(await readFile(file, 'utf8')).toBe('first')
})
