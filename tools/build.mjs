// Bundles src into dist for the package: a few files instead of hundreds, and no types to strip.
import { readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import { build } from 'esbuild'
import { root } from './our-node.mjs'

/** Programs that are started by name; everything else becomes shared chunks. `childProgram` in #config knows the rule. */
const programs = ['bin/lichen', 'bin/local-worker', 'engines/llama/engine-process']

/** What other programs import: `lichen/client`. */
const library = { client: 'src/client/index.ts' }

/** Bundled, because every command needs it before it can do anything; other packages stay in node_modules. */
const bundled = ['commander']

const { dependencies } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))

rmSync(path.join(root, 'dist'), { recursive: true, force: true })
const result = await build({
  absWorkingDir: root,
  entryPoints: {
    ...Object.fromEntries(programs.map((program) => [path.basename(program), `src/${program}.ts`])),
    ...library,
  },
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
 * A builtin is taken as it is (`process.getBuiltinModule`) instead of imported: for an import Node makes a module
 * namespace, and for that evaluates every lazy part of it: 8 ms for node:fs, 30 ms for node:http (measured).
 */
function quickBuiltins() {
  const imports = /^import (?!type\b)([^'"]+?) from ['"](node:[\w/]+)['"];?$/gm
  return {
    name: 'quick-builtins',
    setup({ onLoad }) {
      onLoad({ filter: /[\\/](src|commander|smol-toml)[\\/].*\.[jt]s$/ }, ({ path: file }) => ({
        contents: readFileSync(file, 'utf8').replace(imports, (_, clause, name) =>
          name === 'node:child_process' && /[\\/]commander[\\/]/.test(file)
            ? `const ${clause} = {}` // for subcommands that are programs of their own; we have none
            : constsOf(clause, name),
        ),
        loader: file.endsWith('.ts') ? 'ts' : 'js',
      }))
    },
  }
}

/** `net, { type Socket, connect as dial }` of `node:net`, as constants. */
function constsOf(clause, name) {
  const [, whole, named = ''] = /^(?:\* as )?(\w+)?[\s,]*(?:\{([^}]*)\})?$/.exec(clause.trim())
  const members = named
    .split(',')
    .map((one) => one.trim())
    .filter((one) => one !== '' && !one.startsWith('type '))
  const builtin = `globalThis.process.getBuiltinModule('${name}')`
  return [
    ...(whole ? [`const ${whole} = ${builtin}`] : []),
    ...(members.length > 0
      ? [`const { ${members.map((one) => one.replace(' as ', ': ')).join(', ')} } = ${builtin}`]
      : []),
  ].join(';')
}
