// Builds dist for the package: the bundle, the client for browsers, and its types.
import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import path from 'node:path'
import { buildBrowserClient } from './browser-client/build.mjs'
import { bundle } from './bundle.mjs'
import { root } from './our-node.mjs'

const dist = path.join(root, 'dist')
rmSync(dist, { recursive: true, force: true })
const result = await bundle(dist)
await buildBrowserClient({ outfile: path.join(dist, 'client.browser.js') })
// What a program in TypeScript sees of `lichen/client`: its declarations and those of the floors below it.
execFileSync(process.execPath, [path.join(root, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.types.json'], {
  cwd: root,
  stdio: ['ignore', 2, 2],
})
const bytes = Object.values(result.metafile.outputs).reduce((sum, output) => sum + output.bytes, 0)
console.error(`Built dist: ${Object.keys(result.metafile.outputs).length} files, ${Math.round(bytes / 1024)} KiB.`)
