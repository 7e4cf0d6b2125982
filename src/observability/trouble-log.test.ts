import { expect, test } from 'vitest'
import { troubleLog } from './trouble-log.ts'

test('while the database is away its absence is told whole once, and then counted once a minute', () => {
  const said: unknown[] = []
  const ticks: (() => void)[] = []
  const log = { error: (fields: object, what: string) => void said.push({ ...fields, what }) }
  const trouble = troubleLog(log as never, (_, run) => ticks.push(run))
  const [peers, facts] = [trouble('peers cannot be read'), trouble('facts cannot be read')]
  const away = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
  for (let n = 0; n < 100; n++) peers(away)
  facts(new TypeError('a mistake'))
  expect(said).toEqual([
    { err: away, code: 'ECONNREFUSED', times: 1, what: 'peers cannot be read' },
    { err: new TypeError('a mistake'), code: 'TypeError', times: 1, what: 'facts cannot be read' },
  ])
  ticks.shift()?.()
  expect(said.slice(2)).toEqual([{ code: 'ECONNREFUSED', times: 99, what: 'peers cannot be read' }])
  ticks.shift()?.()
  peers(away)
  expect(said.at(-1)).toMatchObject({ err: away, times: 1 })
})
