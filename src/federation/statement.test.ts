import { expect, test } from 'vitest'
import { generateIdentity } from '#crypto'
import type { PoolId } from '#protocol'
import { systemRuntime } from '#runtime'
import { compareStatements, signStatement, statementFromWire, statementHolds, statementToWire } from './statement.ts'

const [anna, bert] = [generateIdentity(systemRuntime), generateIdentity(systemRuntime)]
const frame = { since: 100, until: 200 }
const rows = (...list: [string, bigint][]) => list.map(([id, amount]) => ({ id, amount }))
const ours = {
  ...frame,
  giver: anna.id as PoolId,
  receiver: bert.id as PoolId,
  lent: rows(['a', 5n], ['b', 7n]),
  borrowed: rows(['c', 9n]),
}
const theirs = {
  ...frame,
  giver: bert.id as PoolId,
  receiver: anna.id as PoolId,
  lent: rows(['c', 9n]),
  borrowed: rows(['b', 7n], ['a', 5n]),
}

test('two pools that agree see what each owes the other, not the difference alone', () => {
  expect(compareStatements(ours, theirs)).toEqual({ owedToUs: 12n, owedToThem: 9n, jobs: 3, differences: [] })
})

test('a job that one of them counts otherwise, or does not know, is named', () => {
  const other = { ...theirs, borrowed: rows(['a', 4n]), lent: rows(['c', 9n], ['d', 1n]) }
  expect(compareStatements(ours, other)).toEqual({
    owedToUs: 0n,
    owedToThem: 9n,
    jobs: 1,
    differences: [
      { id: 'a', by: 'us', ours: 5n, theirs: 4n },
      { id: 'b', by: 'us', ours: 7n, theirs: null },
      { id: 'd', by: 'them', ours: null, theirs: 1n },
    ],
  })
})

test('a statement is its pool’s word to one pool about one time', () => {
  const signed = signStatement(bert, theirs)
  const wire: unknown = JSON.parse(JSON.stringify(statementToWire(signed)))
  const read = statementFromWire(wire, theirs.giver, theirs.receiver)
  if (!read) throw new Error('it cannot be read')
  expect(statementHolds(bert.publicKey, read)).toBe(true)
  for (const changed of [{ since: 99 }, { lent: rows(['c', 8n]) }, { receiver: bert.id as PoolId }])
    expect(statementHolds(bert.publicKey, { ...read, ...changed })).toBe(false)
  expect(statementHolds(anna.publicKey, read)).toBe(false)
  expect(statementFromWire({ ...(wire as object), lent: [['c', '-1']] }, theirs.giver, theirs.receiver)).toBeUndefined()
})
