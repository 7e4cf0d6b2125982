import { readdirSync } from 'node:fs'
import path from 'node:path'
import type { Command } from 'commander'
import { adminKeyFolder } from '#config'
import { adminKeyFile, loadAdminKey } from '../admin-key-file.ts'
import { CommandProblem } from './problem.ts'

export interface SigningOptions {
  readonly key?: string
  readonly file?: string
}

/** Which admin key signs; `what`: as the help says it. */
export const withKey = (command: Command, what: string) =>
  command
    .option('--key <name>', `admin key that signs ${what} (default: the only one on this machine)`)
    .option('--file <path>', 'the same as a file, as `lichen admin-key new --file` made it')

/** The admin key on this machine that signs: the one that is named, or the only one. @throws PoolError not_found, key_file_unsafe. */
export const signingKey = ({ key, file }: SigningOptions) => loadAdminKey(file ?? adminKeyFile(key ?? onlyKey()))

/** The name of the admin key on this machine, if there is just one. */
function onlyKey(): string {
  const folder = adminKeyFolder()
  const names = filesIn(folder).flatMap((file) => (file.endsWith('.key') ? [path.basename(file, '.key')] : []))
  const [name] = names
  if (name !== undefined && names.length === 1) return name
  const fix = 'Make one and register it: `lichen admin-key new NAME`.'
  if (name === undefined) throw new CommandProblem('not_found', `There is no admin key in ${folder}.`, fix)
  throw new CommandProblem(
    'config_invalid',
    `There are several admin keys in ${folder}: ${names.join(', ')}.`,
    'Say which one signs: --key NAME.',
  )
}

function filesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}
