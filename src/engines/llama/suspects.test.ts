import { expect, test } from 'vitest'
import { simulatedRuntime } from '#testkit'
import { engineLimits } from '../limits.ts'
import { Suspects } from './suspects.ts'

test('a request is convicted when two engines in a row die with it, for some minutes', () => {
  const runtime = simulatedRuntime()
  const suspects = new Suspects(runtime)
  suspects.died(['poison', 'bystander'])
  expect(suspects.convicted('poison')).toBe(false)
  suspects.cleared('bystander')
  suspects.died(['poison', 'bystander'])
  expect([suspects.convicted('poison'), suspects.convicted('bystander')]).toEqual([true, false])
  runtime.advance(engineLimits.suspectMsMax)
  expect(suspects.convicted('poison')).toBe(false)
})

test('four choices of one request that die together are one death', () => {
  const suspects = new Suspects(simulatedRuntime())
  suspects.died(['same', 'same', 'same', 'same'])
  expect(suspects.convicted('same')).toBe(false)
})

test('of many suspects the oldest are forgotten', () => {
  const suspects = new Suspects(simulatedRuntime())
  suspects.died(['first'])
  suspects.died(Array.from({ length: engineLimits.suspectsMax }, (_, i) => `other ${i}`))
  suspects.died(['first'])
  expect(suspects.convicted('first')).toBe(false)
  suspects.died(['first'])
  expect(suspects.convicted('first')).toBe(true)
})
