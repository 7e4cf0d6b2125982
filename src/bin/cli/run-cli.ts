import { Command, CommanderError } from 'commander'
import { nearest, packageVersion } from '#config'
import { asTyped } from '../as-typed.ts'
import { type CommandEntry, commands } from './commands.ts'
import { exitCodes } from './exit-codes.ts'
import { guardKeys } from './key-arguments.ts'
import { CommandProblem, explain, type Problem, reportProblem } from './problem.ts'

/** Runs one command line to its end and gives the exit code. Never throws. */
export async function runCli(argv: readonly string[]): Promise<number> {
  try {
    const program = await programFor(argv)
    await program.parseAsync(guardKeys(argv), { from: 'user' })
    return Number(process.exitCode ?? exitCodes.ok)
  } catch (error) {
    if (error instanceof CommanderError && isHelp(error)) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage
    const problem = error instanceof CommanderError ? misuse(error) : explain(error)
    reportProblem(problem, argv.includes('--json'))
    return problem.exitCode
  }
}

/** `--help`, `--version`, or a group of commands that was called without one: what was printed says all. */
const isHelp = (error: CommanderError) => error.exitCode === 0 || error.code === 'commander.help'

/** Commander's sentence (`error: unknown option '--prot'`, and perhaps `(Did you mean --port?)`) in the form of ours. */
function misuse({ message }: CommanderError): Problem {
  const [first = '', meant = ''] = message.replace(/^error: /, '').split('\n')
  const sentence = first.replace(/^./, (letter) => letter.toUpperCase()).replace(/[^.!?]$/, '$&.')
  const fix = `${meant.replace(/^\((.*)\)$/, '$1 ')}\`--help\` shows usage and examples.`
  return { code: 'config_invalid', message: sentence, fix, exitCode: exitCodes.usage }
}

/** The program with the one command that was asked for, or with all of them named for `--help`. */
async function programFor(argv: readonly string[]): Promise<Command> {
  const program = rootCommand()
  const entry = commands.find((one) => one.name === argv[0])
  if (entry) program.addCommand(prepared(await loadCommand(entry)))
  else for (const { name, summary } of commands) program.command(name).description(summary)
  if (!entry && argv[0] !== undefined && !argv[0].startsWith('-') && argv[0] !== 'help') {
    const meant = nearest(
      argv[0],
      commands.map((one) => one.name),
    )
    const hint = meant ? `Did you mean \`lichen ${meant}\`?` : 'See `lichen --help`.'
    throw new CommandProblem('unknown_command', `There is no command ${argv[0]}.`, hint, exitCodes.usage)
  }
  return prepared(program)
}

function rootCommand(): Command {
  return new Command('lichen')
    .description('A compute pool you host yourself: lent machines nobody has to trust, behind the OpenAI API.')
    .usage('<command> [options]')
    .version(packageVersion)
    .addHelpText('after', '\nStart with `lichen up`. `lichen <command> --help` shows its options and examples.')
}

/** The command as commander knows it; also for the reference and for completion. */
export async function loadCommand(entry: CommandEntry): Promise<Command> {
  const make = await entry.load()
  return make().name(entry.name).description(entry.summary)
}

/** No command ends the process by itself: what it printed must reach the pipe first. */
function prepared(command: Command): Command {
  command
    .exitOverride()
    .helpCommand(false)
    .configureOutput({
      writeOut: (text) => process.stdout.write(asTyped(text)),
      writeErr: (text) => process.stderr.write(asTyped(text)),
      outputError: () => {},
    })
  for (const one of command.commands) prepared(one)
  return command
}
