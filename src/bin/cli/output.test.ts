import { expect, test } from 'vitest'
import { clean, counted, table } from './output.ts'
import { CommandProblem, reportProblem } from './problem.ts'

test('what others wrote cannot move the cursor, colour the screen or turn the line around', () => {
  const name = 'evil\u001b[2J\u009b31m\r\nworker\u202egnp.\u2066\u0007'
  expect(clean(name)).toBe('evil?[2J?31m??worker?gnp.??')
  expect(table(['NAME'], [[name]])).toContain('evil?[2J?31m??worker?gnp.??')
})

test('a refusal that repeats such a name is printed clean too', () => {
  const said: string[] = []
  const write = process.stderr.write
  process.stderr.write = (text: string | Uint8Array) => said.push(String(text)) > 0
  try {
    const { code, message, fix, exitCode } = new CommandProblem('not_found', 'No worker \u001b[2Jcarla.', 'Look\u0007.')
    reportProblem({ code, message, fix, exitCode }, false)
  } finally {
    process.stderr.write = write
  }
  expect(said).toEqual(['lichen: No worker ?[2Jcarla.\n  Look?.\n'])
})

test('one is not several', () => {
  expect([0, 1, 2].map((count) => counted(count, 'worker waits', 'workers wait'))).toEqual([
    '0 workers wait',
    '1 worker waits',
    '2 workers wait',
  ])
})
