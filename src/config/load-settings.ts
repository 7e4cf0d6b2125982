import { readFileSync } from 'node:fs'
import path from 'node:path'
import { ConfigError } from './config-error.ts'
import { type Kind, wrongValue } from './kinds.ts'
import { nearest } from './nearest.ts'
import { refuseContradictions } from './refuse-contradictions.ts'
import {
  defaultDataFolder,
  fileKeyOf,
  flagOf,
  type SettingName,
  type Settings,
  settingNames,
  settingsTable,
  variableOf,
} from './settings-table.ts'

/** Flags as the command line gives them: `true` for a switch, several texts for a repeated flag. */
export type Flags = Readonly<Record<string, unknown>>
type Environment = Readonly<Record<string, string | undefined>>
/** One thing the operator said, and where, for the sentence that refuses it. */
interface Said {
  readonly where: string
  readonly value: string | readonly string[]
  /** The folder relative paths start from: where the command was typed, or where the settings file lies. */
  readonly base: string
}
type Layer = Partial<Record<SettingName, Said>>

/**
 * Flags > `LICHEN_*` variables (or `LICHEN_*_FILE`, the path of a file with the value) > `lichen.toml` > defaults.
 * Throws {@link ConfigError} for what is unknown, unreadable or contradictory.
 */
export async function loadSettings(flags: Flags, environment: Environment = process.env): Promise<Settings> {
  const early = { ...fromEnvironment(environment), ...fromFlags(flags) }
  const data = early.data ? (read('data', early.data) as string) : defaultDataFolder(environment)
  const said: Layer = { ...(await fromFile(early.config, data)), ...early }
  const settings = Object.fromEntries(
    settingNames.map((name) => {
      const here = said[name]
      return [name, name === 'data' ? data : here ? read(name, here) : settingsTable[name].fallback]
    }),
  ) as unknown as Settings // the table gives each name its type; a loop over names cannot say so
  refuseContradictions(settings)
  return settings
}

function fromFlags(flags: Flags): Layer {
  const layer: Layer = {}
  for (const name of settingNames) {
    const value = flags[name]
    if (value === undefined) continue
    layer[name] = { where: flagOf(name), value: asText(value), base: process.cwd() }
  }
  return layer
}

function fromEnvironment(environment: Environment): Layer {
  const variables = new Map(settingNames.map((name) => [variableOf(name), name]))
  const layer: Layer = {}
  for (const [variable, value] of Object.entries(environment)) {
    if (value === undefined || !variable.startsWith('LICHEN_') || variable.startsWith('LICHEN_TEST_')) continue
    const direct = variables.get(variable)
    const name = direct ?? (variable.endsWith('_FILE') ? variables.get(variable.slice(0, -5)) : undefined)
    if (name === undefined) throw unknown(`The variable ${variable}`, variable, [...variables.keys()], 'LICHEN_')
    if (layer[name]) {
      throw new ConfigError(
        'config_invalid',
        `Both ${variableOf(name)} and ${variableOf(name)}_FILE are set.`,
        'Keep one of them.',
      )
    }
    layer[name] = { where: variable, value: direct ? value : contentsOf(value, variable).trim(), base: process.cwd() }
  }
  const shared = environment.DATABASE_URL
  if (shared && layer.databaseUrl === undefined) {
    layer.databaseUrl = { where: 'DATABASE_URL', value: shared, base: process.cwd() }
  }
  return layer
}

async function fromFile(asked: Said | undefined, data: string): Promise<Layer> {
  const file = asked ? (read('config', asked) as string) : path.join(data, 'lichen.toml')
  const contents = asked ? contentsOf(file, asked.where) : contentsIfThere(file)
  const names = new Map(settingNames.filter((name) => !isNotInFile(name)).map((name) => [fileKeyOf(name), name]))
  const layer: Layer = {}
  for (const [key, value] of Object.entries(await parseFile(contents, file))) {
    const name = names.get(key)
    if (name === undefined) throw unknown(`The key ${key} in ${file}`, key, [...names.keys()])
    const where = `${key} in ${file}`
    refuseShape(name, value, where)
    layer[name] = { where, value: asText(value), base: path.dirname(file) }
  }
  return layer
}

/** TOML can say more than a setting can be. */
function refuseShape(name: SettingName, value: unknown, where: string): void {
  const { kind, doc } = settingsTable[name]
  const values = Array.isArray(value) ? value : [value]
  const isPlain = (one: unknown) => typeof one !== 'object' || one instanceof Date
  if (!values.every(isPlain)) throw new ConfigError('config_invalid', `${where} must be a value, not a table.`, doc)
  if (Array.isArray(value) && !kind.parseAll)
    throw new ConfigError('config_invalid', `${where} must be one value, not several.`, doc)
}

const asText = (value: unknown): string | string[] => (Array.isArray(value) ? value.map(String) : String(value))

function isNotInFile(name: SettingName): boolean {
  return 'notInFile' in settingsTable[name]
}

/** The parser is loaded only where there is something to parse: most commands have no file. */
async function parseFile(contents: string, file: string): Promise<Record<string, unknown>> {
  if (contents === '') return {}
  const { parse: parseToml, TomlError } = await import('smol-toml')
  try {
    return parseToml(contents)
  } catch (error) {
    if (!(error instanceof TomlError)) throw error
    const reason = error.message.split('\n')[0]?.replace('Invalid TOML document: ', '')
    throw new ConfigError(
      'config_invalid',
      `${file} is not valid TOML: line ${error.line}, column ${error.column}: ${reason}.`,
      'Correct that line, or move the file away.',
    )
  }
}

/** The value in the setting's own type. */
function read(name: SettingName, said: Said): unknown {
  const kind: Kind<unknown> = settingsTable[name].kind
  try {
    if (typeof said.value === 'string') return kind.parse(said.value, said.base)
    if (kind.parseAll) return kind.parseAll(said.value, said.base)
    return kind.parse(said.value.at(-1) ?? '', said.base)
  } catch (error) {
    throw new ConfigError('config_invalid', `${said.where} ${wrongValue(error)}.`, settingsTable[name].doc)
  }
}

function contentsOf(file: string, where: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new ConfigError(
      'config_invalid',
      `${where} names a file that cannot be read: ${file} (${(error as NodeJS.ErrnoException).code}).`,
      'Check the path and its permissions.',
    )
  }
}

function contentsIfThere(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOENT' || code === 'ENOTDIR') return ''
    return contentsOf(file, 'The data folder')
  }
}

function unknown(what: string, wrong: string, names: readonly string[], prefix = ''): ConfigError {
  const bare = (name: string) => name.slice(prefix.length)
  const meant = nearest(bare(wrong), names.map(bare))
  return new ConfigError(
    'config_invalid',
    `${what} is not a setting.`,
    meant ? `Did you mean ${prefix}${meant}?` : 'docs/reference/settings.md lists all of them.',
  )
}
