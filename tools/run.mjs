// Runs a TypeScript program of this repository from its sources: node tools/run.mjs FILE [ARGS].
import { spawn } from 'node:child_process'
import os from 'node:os'
import { ourNode, root } from './our-node.mjs'

const child = spawn(ourNode, ['-C', 'lichen-source', ...process.argv.slice(2)], { cwd: root, stdio: 'inherit' })
// Ctrl-C reaches the program by itself: it tidies up, and whoever waits for this waits for that. A kill is passed on.
process.on('SIGINT', () => {})
process.on('SIGTERM', () => child.kill('SIGTERM'))
child.once('error', (error) => {
  process.stderr.write(`${error.message}\n`)
  process.exitCode = 1
})
child.once('exit', (code, signal) => {
  process.exitCode = code ?? 128 + (os.constants.signals[signal] ?? 0)
})
