import { Command } from 'commander'
import { loadSettings, type Settings } from '#config'
import { asTyped } from '../as-typed.ts'
import { checks, type Finding } from './doctor-checks.ts'
import { exitCodes } from './exit-codes.ts'
import { withExamples, withSettings } from './options.ts'
import { clean, green, print, red, yellow } from './output.ts'
import { explain, UnreachableError, unreachableFix } from './problem.ts'

export function doctorCommand(): Command {
  const command = new Command().action(async (options: { json?: boolean }, self: Command) => {
    const findings = await examine(self)
    const healthy = !findings.some((finding) => finding.state === 'problem')
    print(options.json === true, { healthy, findings }, () => findings.map(lineOf).join('\n'))
    process.exitCode = healthy ? exitCodes.ok : exitCodes.failed
  })
  withSettings(command, ['pool', 'worker', 'client'])
  return withExamples(command, [
    ['lichen doctor', 'look at this machine and at the pool on it'],
    ['lichen doctor --port 8080 --model big.gguf', 'would `lichen up` with these settings work?'],
    ['lichen doctor --json', 'for a script; exit code 1 when something is wrong'],
  ])
}

/** Settings come first: with wrong ones the rest would look at the wrong things. */
async function examine(command: Command): Promise<Finding[]> {
  let settings: Settings
  try {
    settings = await loadSettings(command.optsWithGlobals())
  } catch (error) {
    const { message, fix } = explain(error)
    return [{ check: 'settings', state: 'problem', message, fix }]
  }
  const findings: Finding[] = [{ check: 'settings', state: 'ok', message: `Data in ${settings.data}.` }]
  for (const [name, check] of checks) findings.push(...(await orProblem(name, () => check(settings))))
  return findings
}

/** A check that cannot even look is a finding too. */
async function orProblem(check: string, look: () => Promise<Finding[]>): Promise<Finding[]> {
  try {
    return await look()
  } catch (error) {
    const { message, fix } = explain(error)
    return [{ check, state: 'problem', message, fix: error instanceof UnreachableError ? unreachableFix : fix }]
  }
}

function lineOf({ check, state, message, fix }: Finding): string {
  const mark = { ok: green('ok     '), note: yellow('note   '), problem: red('problem') }[state]
  return `${mark}  ${check.padEnd(10)}  ${clean(message)}${fix ? `\n                     → ${clean(asTyped(fix))}` : ''}`
}
