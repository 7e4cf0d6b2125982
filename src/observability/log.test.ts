import { expect, test } from 'vitest'
import { createLog } from './log.ts'
import { prettyLine } from './pretty-line.ts'

function captured(pretty: boolean): { lines: string[]; log: ReturnType<typeof createLog>['log'] } {
  const lines: string[] = []
  const to = { write: (line: string) => void lines.push(line) }
  return { lines, log: createLog({ level: 'info', pretty, color: false, program: 'pool', to }).log }
}

test('a line is JSON with level, time, program and message', () => {
  const { lines, log } = captured(false)
  log.info({ slots: 4 }, 'worker connected')
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({
    level: 'info',
    program: 'pool',
    slots: 4,
    msg: 'worker connected',
  })
})

test('a careless line does not carry a key, a prompt or a reply', () => {
  const { lines, log } = captured(false)
  const request = { body: 'canary-prompt', headers: { authorization: 'Bearer canary-key' } }
  log.info({ prompt: 'canary-prompt', apiKey: 'canary-key', request, job: { messages: ['canary-prompt'] } }, 'job')
  expect(lines[0]).not.toContain('canary')
  expect(lines[0]).toContain('[redacted]')
})

test('a person reads one plain line', () => {
  const { lines, log } = captured(true)
  log.warn({ worker: 'ab'.repeat(32), slots: 2 }, 'worker lost')
  expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d warn {2}pool {3}worker lost worker=abababababab slots=2\n$/)
})

test('what is below the level is not written', () => {
  const { lines, log } = captured(false)
  log.debug('quiet')
  expect(lines).toEqual([])
})

test('a name that a worker chose cannot drive the terminal of who reads the log', () => {
  const line = JSON.stringify({
    level: 'info',
    time: '',
    program: 'pool',
    msg: 'worker connected',
    agent: 'a\u001b[2J\r\u202eb',
  })
  expect(prettyLine(line, false)).toContain('agent=a?[2J??b\n')
})
