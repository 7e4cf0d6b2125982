import { mkdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { sha256 } from '#crypto'
import { modelOfferSchema } from '#protocol'
import { temporaryFolder } from '#testkit'
import { fileDigest } from './file-digest.ts'
import { findModelFiles, modelParts, nameOfFile } from './model-files.ts'

function folderWith(...names: string[]) {
  const folder = temporaryFolder()
  for (const name of names) writeFileSync(path.join(folder.path, name), name)
  return folder
}

test('a folder lends each of its models once: parts and picture encoders are not models', async () => {
  using folder = folderWith(
    'b.gguf',
    'A Model (v2).GGUF',
    'big-00001-of-00002.gguf',
    'big-00002-of-00002.gguf',
    'mmproj-b.gguf',
    'readme.md',
  )
  mkdirSync(path.join(folder.path, 'more.gguf.d'))
  const files = await findModelFiles([{ path: folder.path }])
  expect(files.map(({ name }) => name)).toEqual(['A-Model-v2-', 'b', 'big'])
  expect(modelParts(files[2]?.path ?? '').map((part) => path.basename(part))).toEqual([
    'big-00001-of-00002.gguf',
    'big-00002-of-00002.gguf',
  ])
})

test('a file is offered under the name its operator gives it', async () => {
  using folder = folderWith('x.gguf')
  const file = path.join(folder.path, 'x.gguf')
  expect(await findModelFiles([{ path: file, name: 'org/model:7b' }])).toEqual([{ name: 'org/model:7b', path: file }])
})

test.each([
  ['nothing there', [], { path: 'absent.gguf' }],
  ['an empty folder', [], { path: '.' }],
  ['one name for two models', ['a.gguf', 'b.gguf'], { path: '.', name: 'a' }],
  ['a name nobody can say', ['a.gguf'], { path: 'a.gguf', name: 'two words' }],
])('%s is refused', async (_, names, model) => {
  using folder = folderWith(...names)
  const place = { ...model, path: path.join(folder.path, model.path) }
  await expect(findModelFiles([place])).rejects.toMatchObject({ code: 'model_unreadable' })
})

test('whatever a file is called, its model has a name that is safe to print', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (name) => {
      expect(modelOfferSchema.shape.name.safeParse(nameOfFile(`${name}.gguf`)).success).toBe(true)
    }),
  )
})

test.each(['a\u001b[2J', 'a\nb', 'a\u0000', '\u202ea'])(
  'an operator cannot give a name with %j in it',
  async (name) => {
    using folder = folderWith('x.gguf')
    await expect(findModelFiles([{ path: path.join(folder.path, 'x.gguf'), name }])).rejects.toMatchObject({
      code: 'model_unreadable',
      message: expect.not.stringMatching(/\p{C}/u),
    })
  },
)

test('two models may not share a name', async () => {
  using folder = folderWith('a.gguf')
  const path_ = path.join(folder.path, 'a.gguf')
  await expect(findModelFiles([{ path: path_ }, { path: path_ }])).rejects.toThrow('Two models are called a')
})

test.each([
  ['/models/a\u001b[31mred\u0007.gguf', 'a-31mred-'],
  ['\u0000\r\n.gguf', 'model'],
  ['x\u009b2J\u202ey.gguf', 'x-2J-y'],
  ['\ud800.gguf', 'model'],
  ['/models/Llama-3.2-1B.Q4_K_M.gguf', 'Llama-3.2-1B.Q4_K_M'],
  ['qwen 2.5 ü.gguf', 'qwen-2.5-'],
  ['---.gguf', 'model'],
  ['big-00001-of-00009.gguf', 'big'],
])('the file %s is called %s', (file, name) => {
  expect(nameOfFile(file)).toBe(name)
})

test('a digest is that of the bytes, and of all parts together', async () => {
  using folder = folderWith('a', 'b')
  const [a, b] = [path.join(folder.path, 'a'), path.join(folder.path, 'b')]
  expect(await fileDigest([a], undefined)).toBe(sha256(Buffer.from('a')).toString('hex'))
  expect(await fileDigest([a, b], undefined)).toBe(sha256(Buffer.from('ab')).toString('hex'))
})

test('a digest is remembered until the file changes', async () => {
  using folder = folderWith('a')
  const [file, cache] = [path.join(folder.path, 'a'), path.join(folder.path, 'digests.json')]
  const first = await fileDigest([file], cache)
  const stored = readFileSync(cache, 'utf8')
  const marked = 'f'.repeat(64)
  writeFileSync(cache, stored.replace(first, marked))
  expect(await fileDigest([file], cache)).toBe(marked) // so the file was not read again
  utimesSync(file, 1, 1)
  expect(await fileDigest([file], cache)).toBe(first)
  writeFileSync(cache, 'not json')
  expect(await fileDigest([file], cache)).toBe(first)
})

test('a digest that cannot be written down is told all the same', async () => {
  using folder = folderWith('a')
  const nowhere = path.join(folder.path, 'missing', 'digests.json')
  expect(await fileDigest([path.join(folder.path, 'a')], nowhere)).toBe(sha256(Buffer.from('a')).toString('hex'))
})
