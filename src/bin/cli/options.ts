import { type Command, InvalidArgumentError, Option } from 'commander'
import {
  defaultTextOf,
  flagOf,
  loadSettings,
  parseDuration,
  type SettingName,
  type Settings,
  settingNames,
  settingsTable,
} from '#config'

type Program = 'pool' | 'worker' | 'client'

/** Adds the flags of the settings that a program listens to, and `--json`. */
export function withSettings(command: Command, programs: readonly Program[]): Command {
  for (const name of settingNames) {
    const setting = settingsTable[name]
    const wanted = setting.programs.some((one) => one === 'all' || programs.includes(one as Program))
    if (wanted && !('secret' in setting)) command.addOption(settingOption(name))
  }
  return command.option('--json', 'machine-readable output')
}

function settingOption(name: SettingName): Option {
  const { kind, doc } = settingsTable[name]
  const fallback = defaultTextOf(name)?.replaceAll('`', '')
  const option = new Option(
    kind.placeholder === undefined ? flagOf(name) : `${flagOf(name)} <${kind.placeholder}>`,
    `${doc.replaceAll('`', '')}${fallback ? ` (default: ${fallback})` : ''}`,
  )
  if (kind.parseAll) option.argParser((value: string, before: string[] | undefined) => [...(before ?? []), value])
  return option
}

/** The settings as this command line, the environment and the file give them. */
export function settingsOf(command: Command): Promise<Settings> {
  return loadSettings(command.optsWithGlobals())
}

/** Examples stand at the end of `--help`. Each is a command line and what it does. */
export function withExamples(command: Command, examples: readonly (readonly [line: string, does: string])[]): Command {
  const width = Math.max(...examples.map(([line]) => line.length))
  const lines = examples.map(([line, does]) => `  $ ${line.padEnd(width)}  # ${does}`)
  return command.addHelpText('after', `\nExamples:\n${lines.join('\n')}`)
}

/** `--expires 30d`, in milliseconds. */
export function durationMs(text: string): number {
  const ms = parseDuration(text)
  if (ms === undefined) throw new InvalidArgumentError('Give a time such as 90s, 15m, 12h or 30d.')
  return ms
}

/** A whole number from 1 up. */
export function positive(text: string): number {
  const number = /^\d+$/.test(text) ? Number(text) : 0
  if (number < 1 || !Number.isSafeInteger(number)) throw new InvalidArgumentError('Give a whole number from 1 up.')
  return number
}

/** A number above 0, decimals allowed. */
export function share(text: string): number {
  const number = Number(text)
  if (!(number > 0 && Number.isFinite(number))) throw new InvalidArgumentError('Give a number above 0.')
  return number
}
