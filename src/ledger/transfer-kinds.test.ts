import { readFileSync } from 'node:fs'
import path from 'node:path'
import { decode } from '@ipld/dag-cbor'
import { expect, test } from 'vitest'
import type { LedgerOp } from './ledger-op.ts'
import { transferKinds } from './transfer-kinds.ts'
import { leafOfRow, rowOf, transferLeaf } from './transfer-leaf.ts'

test('docs/reference/transfers.md says for every kind whose signature authorises it, as the code does', () => {
  const page = readFileSync(path.join(import.meta.dirname, '../../docs/reference/transfers.md'), 'utf8')
  const rows = page
    .split('\n')
    .filter((line) => /^\| `(charge|grant|bootstrap|payment|release|slash|refund|restitution)`/.test(line))
  const list = (items: readonly string[]) => items.map((item) => `\`${item}\``).join(', ')
  const expected = Object.entries(transferKinds).map(([kind, { from, to, phases, signer, message, kept }]) => {
    return `| \`${kind}\` | ${list(from)} | ${list(to)} | ${phases.join(', ')} | ${signer} | \`${message}\` | ${kept} |`
  })
  expect(rows).toEqual(expected)
})

test('a leaf commits to every member of the row', () => {
  const id = '018f0000-0000-7000-8000-000000000001'
  const [at, authorisation] = [1_700_000_000_000, Buffer.from('signed')]
  const op: LedgerOp = {
    op: 'transfer',
    id,
    kind: 'grant',
    from: 'issuance',
    to: 'user:x',
    amount: 2n ** 60n,
    at,
    authorisation,
  }
  const row = rowOf(op)
  expect(transferLeaf(op)).toEqual(leafOfRow(row))
  expect(decode(transferLeaf(op))).toMatchObject({
    id,
    amount: 2n ** 60n,
    from: 'issuance',
    to: [['user:x', 2n ** 60n]],
  })
  const changes = [
    { id: 'x' },
    { phase: 'pending' as const },
    { kind: 'payment' as const },
    { from: 'pool' },
    { amount: 1n },
    { to: [] },
    { to: [{ account: 'user:y', amount: 2n ** 60n }] },
    { hold: 'h' },
    { expiresAt: 1 },
    { key: 'k' },
    { tokens: 1 },
    { at: 1 },
    { authorisation: null },
  ]
  const leaves = [row, ...changes.map((change) => ({ ...row, ...change }))].map((one) => leafOfRow(one).toString('hex'))
  expect(new Set(leaves).size).toBe(changes.length + 1)
})
