import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { SlotMap, Slots } from './slots.ts'

test('members are found by their names, whoever came and went before', () => {
  const steps = fc.array(fc.record({ name: fc.integer({ min: 0, max: 20 }), leaves: fc.boolean() }), { maxLength: 200 })
  fc.assert(
    fc.property(steps, (all) => {
      const map = new Map<number, object>()
      const slots = new SlotMap<number, object>()
      for (const { name, leaves } of all) {
        const member = { name }
        if (leaves) expect(slots.delete(name)).toBe(map.delete(name))
        else {
          map.set(name, member)
          slots.set(name, member)
        }
        expect(slots.size).toBe(map.size)
        expect(slots.has(name)).toBe(map.has(name))
        expect(slots.get(name)).toBe(map.get(name))
      }
      expect(new Set(slots.values())).toEqual(new Set(map.values()))
      expect([...slots.values()]).toHaveLength(map.size)
    }),
  )
})

test('members may leave while they are counted through, and nobody gives a slot back twice', () => {
  const slots = new Slots<{ slot?: number }>()
  const members = Array.from({ length: 5 }, () => ({}) as { slot?: number })
  for (const member of members) member.slot = slots.add(member)
  const seen: unknown[] = []
  for (const member of slots) {
    seen.push(member)
    slots.remove(member.slot ?? -1)
  }
  expect(seen).toEqual(members)
  expect(slots.size).toBe(0)
  expect(() => slots.remove(0)).toThrow(RangeError)
})

/** Bytes that each of many short-lived members leaves behind after the young collections that follow. */
async function leftBehind(registry: 'Map' | 'SlotMap'): Promise<number> {
  const program = `
    import { SlotMap } from ${JSON.stringify(new URL('slots.ts', import.meta.url).href)}
    const registry = new ${registry}()
    const line = []
    let next = 0
    const pass = () => {
      const name = 'job ' + next++
      registry.set(name, { payload: new Array(100).fill(0.5) })
      line.push(name)
      if (line.length > 64) registry.delete(line.shift())
    }
    for (let n = 0; n < 1_000; n++) pass()
    gc()
    for (let n = 0; n < 5_000; n++) pass()
    gc({ type: 'minor' })
    gc({ type: 'minor' })
    const before = process.memoryUsage().heapUsed
    gc()
    console.log((before - process.memoryUsage().heapUsed) / 5_000)`
  const args = ['--expose-gc', '--disable-warning=ExperimentalWarning', '--input-type=module', '-e', program]
  return Number((await promisify(execFile)(process.execPath, args)).stdout)
}

test('who leaves is collected young, where a Map keeps it until the next full collection', async () => {
  const [map, slots] = await Promise.all([leftBehind('Map'), leftBehind('SlotMap')])
  expect(slots).toBeLessThan(200)
  // what the slots are for: the day V8 frees a Map's members young, they may go
  expect(map).toBeGreaterThan(800)
})
