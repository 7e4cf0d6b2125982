import { Command } from 'commander'
import { expect, test } from 'vitest'
import { guardKeys } from './key-arguments.ts'

const key = `-${'aB3_-x'.repeat(7)}`

test.each([
  [
    ['admin-key', 'add', 'ada', key],
    ['admin-key', 'add', 'ada', '--', key],
  ],
  [
    ['users', 'payer-key', 'ada', key, '--json'],
    ['users', 'payer-key', 'ada', '--json', '--', key],
  ],
  [
    ['admin-key', 'add', '--', 'ada', key],
    ['admin-key', 'add', '--', 'ada', key],
  ],
  [
    ['verify', 'receipt.json', '--pool', key],
    ['verify', 'receipt.json', '--pool', key],
  ],
  [
    ['keys', 'ls', '--json'],
    ['keys', 'ls', '--json'],
  ],
])('%j is read as %j', (typed, read) => {
  expect(guardKeys(typed)).toEqual(read)
})

test('a public key that begins with a dash, as one in 64 does, is an argument and no flag', async () => {
  const seen: unknown[] = []
  const add = new Command('add').argument('<name>').argument('<key>').option('--json')
  add.action((...all: unknown[]) => {
    seen.push(...all.slice(0, 3))
  })
  const program = new Command().addCommand(add)
  await program.parseAsync(guardKeys(['add', 'ada', key, '--json']), { from: 'user' })
  expect(seen).toEqual(['ada', key, { json: true }])
})
