import { beforeAll, describe, expect, test } from 'vitest'
import { type LabResult, labDefaults, runLab } from './run-lab.ts'

const small = { ...labDefaults, requests: 4_000, cases: 6, adversaries: ['cached', 'false_accuser'] }

test('the same seed gives the same result, and another seed another one', () => {
  const [once, again, other] = [small, small, { ...small, seed: 8 }].map((plan) => runLab(plan))
  expect(again).toEqual(once)
  expect(other?.rows).not.toEqual(once?.rows)
})

test('one adversary can be played alone', () => {
  const { rows } = runLab({ ...small, adversaries: ['turncoat'] })
  expect(rows.map(({ name }) => name)).toEqual(['turncoat'])
})

describe('a million honest requests, and 250 of every cheater', () => {
  let result: LabResult
  beforeAll(() => {
    result = runLab({ ...labDefaults, requests: 1_000_000, cases: 250 })
  }, 300_000)

  test('nobody honest is convicted, nor even accused', () => {
    expect(result.honest.requests).toBeGreaterThanOrEqual(1_000_000)
    expect(result.falseConvictions).toBe(0)
    expect(result.honest.alarms).toBe(0)
    expect(result.honest.falseConvictionMax).toBeLessThan(3e-6)
  })

  test('cheaters are all convicted, as late as the chain says', () => {
    // The chain knows a ring only as it is before its first member is convicted; its delay is the longest there can be.
    for (const { name, measured, expected } of result.rows) {
      expect(measured.caught, name).toBe(measured.cases)
      if (name === 'colluding_ring') expect(measured.delayMean).toBeLessThan(expected.delayMean)
      else expect(Math.abs(measured.delayMean / expected.delayMean - 1), name).toBeLessThan(0.1)
    }
  })

  test('honest workers are checked as often as the chain says', () => {
    const { checkRate, expectedCheckRate } = result.honest
    expect(Math.abs(checkRate / expectedCheckRate - 1)).toBeLessThan(0.1)
  })

  test('cheating brought nobody more than honest work would have', () => {
    for (const { name, measured } of result.rows) expect(measured.profit, name).toBeLessThan(0)
  })

  test('every goal is met, but that young pools check a little more than one request in twenty', () => {
    const missed = result.goals.filter(({ met }) => !met)
    expect(result.goals).toHaveLength(6)
    expect(missed.map(({ goal }) => goal)).toEqual(['honest requests checked, %'])
    expect(missed[0]?.expected).toBeLessThan(5.2)
  })
})
