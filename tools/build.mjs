// Bundles src into dist for the package: a few files instead of hundreds, and no types to strip.
import { readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import { build } from 'esbuild'
import { root } from './our-node.mjs'

/** Programs that are started by name; everything else becomes shared chunks. `childProgram` in #config knows the rule. */
const programs = ['bin/lichen', 'bin/local-worker', 'engines/llama/engine-process']

/** Bundled, because every command needs it before it can do anything; other packages stay in node_modules. */
const bundled = ['commander']

const { dependencies } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))

rmSync(path.join(root, 'dist'), { recursive: true, force: true })
const result = await build({
  absWorkingDir: root,
  entryPoints: Object.fromEntries(programs.map((program) => [path.basename(program), `src/${program}.ts`])),
  outdir: 'dist',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node22.18',
  conditions: ['lichen-source'],
  external: Object.keys(dependencies).filter((name) => !bundled.includes(name)),
  chunkNames: 'parts/[name]-[hash]',
  legalComments: 'none',
  metafile: true,
  logLevel: 'warning',
  plugins: [quickBuiltins()],
})
const bytes = Object.values(result.metafile.outputs).reduce((sum, output) => sum + output.bytes, 0)
console.error(`Built dist: ${Object.keys(result.metafile.outputs).length} files, ${Math.round(bytes / 1024)} KiB.`)

/**
 * commander imports node:process and node:child_process at once; their module namespaces cost 10 ms of every start
 * (measured), and it uses the one as the global it is and the other never (we have no executable subcommands).
 */
function quickBuiltins() {
  const sources = {
    'node:process': 'export default globalThis.process',
    'node:child_process': 'export default {}',
  }
  return {
    name: 'quick-builtins',
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /^node:(process|child_process)$/ }, ({ path: name, importer }) =>
        /node_modules[\\/]commander[\\/]/.test(importer) ? { path: name, namespace: 'quick' } : undefined,
      )
      onLoad({ filter: /.*/, namespace: 'quick' }, ({ path: name }) => ({ contents: sources[name], loader: 'js' }))
    },
  }
}
