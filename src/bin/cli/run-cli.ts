import { Command, CommanderError } from 'commander'
import { nearest, packageVersion } from '#config'
import { asTyped } from '../as-typed.ts'
import { type CommandEntry, commands } from './commands.ts'
import { exitCodes } from './exit-codes.ts'
import { helpAsJson } from './help-as-json.ts'
import { guardKeys } from './key-arguments.ts'
import { CommandProblem, explain, type Problem, reportProblem } from './problem.ts'

/** Runs one command line to its end and gives the exit code. Never throws. */
export async function runCli(typed: readonly string[]): Promise<number> {
  const argv = ordered(typed)
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

/** The command first: `lichen --json keys ls` is `lichen keys --json ls`, and `lichen help keys` is `lichen keys --help`. */
function ordered(typed: readonly string[]): readonly string[] {
  const [first, ...rest] = typed
  if (first === 'help') return ordered([...rest, '--help'])
  if (first === '--') return ordered(rest)
  const [name] = rest
  return first === '--json' && name !== undefined && !name.startsWith('-')
    ? ordered([name, first, ...rest.slice(1)])
    : typed
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
  const json = argv.includes('--json')
  const program = rootCommand(json)
  const entry = commands.find((one) => one.name === argv[0])
  if (entry) program.addCommand(await loadCommand(entry))
  else for (const { name, summary } of commands) program.command(name).description(summary)
  if (!entry && argv[0] !== undefined && !argv[0].startsWith('-')) {
    const meant = nearest(
      argv[0],
      commands.map((one) => one.name),
    )
    const hint = meant ? `Did you mean \`lichen ${meant}\`?` : 'See `lichen --help`.'
    throw new CommandProblem('unknown_command', `There is no command ${argv[0]}.`, hint, exitCodes.usage)
  }
  return prepared(program, json)
}

function rootCommand(json: boolean): Command {
  return new Command('lichen')
    .description('A compute pool you host yourself: lent machines nobody has to trust, behind the OpenAI API.')
    .usage('<command> [options]')
    .version(json ? JSON.stringify({ version: packageVersion }) : packageVersion)
    .option('--json', 'machine-readable output')
    .enablePositionalOptions()
    .addHelpText('after', '\nStart with `lichen up`. `lichen <command> --help` shows its options and examples.')
}

/** The command as commander knows it; also for the reference and for completion. */
export async function loadCommand(entry: CommandEntry): Promise<Command> {
  const make = await entry.load()
  return withJsonInGroups(make().name(entry.name).description(entry.summary))
}

/** A group takes `--json`, too, for its commands and for what it says when it is called without one. */
function withJsonInGroups(command: Command): Command {
  if (command.commands.length > 0) {
    if (!command.options.some(({ long }) => long === '--json')) command.option('--json', 'machine-readable output')
    command
      // after the name of a command it is that command's
      .enablePositionalOptions()
      .hook('preSubcommand', (group, one) => {
        if (group.opts().json === true) one.setOptionValue('json', true)
      })
  }
  for (const one of command.commands) withJsonInGroups(one)
  return command
}

/** No command ends the process by itself: what it printed must reach the pipe first. */
function prepared(command: Command, json: boolean): Command {
  command
    .exitOverride()
    .helpCommand(false)
    .configureOutput({
      writeOut: (text) => process.stdout.write(asTyped(text)),
      writeErr: (text) => process.stderr.write(asTyped(text)),
      outputError: () => {},
    })
  if (json) command.outputHelp = (context) => helpAsJson(command, context)
  for (const one of command.commands) prepared(one, json)
  return command
}
