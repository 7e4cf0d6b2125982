// Runs a TypeScript program of this repository from its sources: node tools/run.mjs FILE [ARGS].
import { spawnSync } from 'node:child_process'
import { ourNode, root } from './our-node.mjs'

const result = spawnSync(ourNode, ['-C', 'lichen-source', ...process.argv.slice(2)], { cwd: root, stdio: 'inherit' })
process.exitCode = result.status ?? 1
