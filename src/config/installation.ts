import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'

/** True in a clone (TypeScript run as it stands), false in the packed bundle. */
const fromSources = import.meta.filename.endsWith('.ts')

/** The folder that holds package.json, `migrations/`, `models/` and either `src/` or `dist/`. */
export const packageRoot = findPackageRoot(import.meta.dirname)

/** `version` of package.json. */
export const packageVersion: string = JSON.parse(readFileSync(path.join(packageRoot, 'package.json'), 'utf8')).version

/**
 * How to start one of our child programs with this very Node: `room/name` is its source file without `.ts`.
 * The bundle keeps it under its last name (`engines/engine-process` → `dist/engine-process.js`).
 */
export function childProgram(source: string): { file: string; execArgv: string[] } {
  return fromSources
    ? { file: path.join(packageRoot, 'src', `${source}.ts`), execArgv: [...nodeArguments, ...sourceArguments] }
    : { file: path.join(packageRoot, 'dist', `${path.basename(source)}.js`), execArgv: nodeArguments }
}

/** As in `bin/lichen`, which says why. */
const nodeArguments = ['--v8-pool-size=1']

/** Node 22 still warns about the type stripping that Node 24 does silently. */
const sourceArguments = ['-C', 'lichen-source', '--disable-warning=ExperimentalWarning']

function findPackageRoot(from: string): string {
  for (let folder = from; folder !== path.dirname(folder); folder = path.dirname(folder)) {
    if (existsSync(path.join(folder, 'package.json'))) return folder
  }
  throw new Error(`no package.json above ${from}`)
}
