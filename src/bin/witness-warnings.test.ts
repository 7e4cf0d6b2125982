import { expect, test } from 'vitest'
import type { PoolId } from '#protocol'
import { witnessWarnings } from './witness-warnings.ts'

test('whoever reads the status is told which witness is silent, since when, and what to do', () => {
  const silent = [{ witness: 'ab'.repeat(32) as PoolId, since: Date.UTC(2026, 0, 2, 3, 4) }]
  expect(witnessWarnings({ silentWitnesses: () => silent })).toEqual([
    "Witness abababababab has signed nothing of this pool's log since 2026-01-02T03:04Z: `lichen fed ping abababababab`, then ask its admin.",
  ])
  expect(witnessWarnings({ silentWitnesses: () => [] })).toEqual([])
})
