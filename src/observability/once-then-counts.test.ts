import { expect, test } from 'vitest'
import { simulatedRuntime } from '../testkit/simulated-runtime.ts'
import { createLog, Metrics, poolEvents } from './index.ts'
import { observabilityLimits } from './limits.ts'

/** What a pool's log says of sockets it turned away: `code source times`. */
function doorLog() {
  const lines: string[] = []
  const write = (line: string) => {
    const { code, source, times } = JSON.parse(line)
    lines.push(`${code} ${source} ${times}`)
  }
  const { log } = createLog({ level: 'info', pretty: false, color: false, program: 'pool', to: { write } })
  const runtime = simulatedRuntime(1)
  const metrics = new Metrics()
  const { turnedAway } = poolEvents(log, metrics, (ms, run) => runtime.after(ms, run))
  const minute = () => runtime.advance(observabilityLimits.floodCountMs)
  return { turnedAway, metrics, minute, said: () => lines.splice(0) }
}

test('a flood at the door is logged once for each code and source, then counted every minute', async () => {
  const { turnedAway, metrics, minute, said } = doorLog()
  for (let i = 0; i < 10_000; i++) turnedAway({ code: 'too_many_sockets', source: '203.0.113.7' })
  turnedAway({ code: 'invite_used', source: '203.0.113.7' })
  expect(said()).toEqual(['too_many_sockets 203.0.113.7 1', 'invite_used 203.0.113.7 1'])
  await minute()
  expect(said()).toEqual(['too_many_sockets 203.0.113.7 9999'])
  turnedAway({ code: 'too_many_sockets', source: '203.0.113.7' })
  expect(said()).toEqual([])
  await minute()
  expect(said()).toEqual(['too_many_sockets 203.0.113.7 1'])
  expect(await metrics.text()).toContain('lichen_door_refusals_total{code="too_many_sockets"} 10001')
})

test('who comes back after a silent minute is news again', async () => {
  const { turnedAway, minute, said } = doorLog()
  turnedAway({ code: 'worker_revoked', source: '198.51.100.1' })
  await minute()
  turnedAway({ code: 'worker_revoked', source: '198.51.100.1' })
  expect(said()).toEqual(['worker_revoked 198.51.100.1 1', 'worker_revoked 198.51.100.1 1'])
})

test('a flood from everywhere fills neither the log nor the memory', async () => {
  const { turnedAway, minute, said } = doorLog()
  const flood = () => {
    for (let i = 0; i < 5_000; i++) turnedAway({ code: 'handshake_failed', source: `2001:db8::${i.toString(16)}` })
  }
  flood()
  expect(said()).toHaveLength(observabilityLimits.floodKindsMax)
  flood()
  await minute()
  const counted = said()
  expect(counted).toHaveLength(observabilityLimits.floodKindsMax + 1)
  expect(counted.at(-1)).toBe(`several several ${2 * (5_000 - observabilityLimits.floodKindsMax)}`)
})
