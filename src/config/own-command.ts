import { accessSync, constants, realpathSync } from 'node:fs'
import path from 'node:path'
import { packageRoot } from './installation.ts'

interface Shell {
  readonly cwd: string
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly root: string
}

/**
 * What a person at this shell types to run us: `lichen` where PATH leads to this very installation, `npx lichen` where npx
 * does, else the launcher's path, `./bin/lichen` in a clone.
 */
export function ownCommand(shell: Shell = { cwd: process.cwd(), environment: process.env, root: packageRoot }): string {
  const { cwd, environment, root } = shell
  const launcher = path.join(root, 'bin', 'lichen')
  if (environment.npm_command === 'exec') return 'npx lichen'
  const folders = (environment.PATH ?? '').split(path.delimiter).filter(path.isAbsolute)
  if (folders.some((folder) => leadsTo(path.join(folder, 'lichen'), launcher))) return 'lichen'
  const near = path.relative(cwd, launcher)
  return near.startsWith('..') ? launcher : `.${path.sep}${near}`
}

function leadsTo(file: string, launcher: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return realpathSync(file) === realpathSync(launcher)
  } catch {
    return false
  }
}
