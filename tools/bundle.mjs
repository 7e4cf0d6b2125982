// The programs and the client library as a few files of JavaScript instead of hundreds with types to strip.
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { build } from 'esbuild'
import { root } from './our-node.mjs'

/** Programs that are started by name; everything else becomes shared chunks. `childProgram` in #config knows the rule. */
const programs = ['bin/lichen', 'bin/local-worker', 'engines/llama/engine-process']

/** What other programs import: `lichen/client`. */
const library = { client: 'src/client/index.ts' }

/** Bundled, because every command needs it before it can do anything; other packages stay in node_modules. */
const bundled = ['commander']

/** What each door gives out; see {@link doorOf}. */
const doors = new Map()

const { dependencies } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))

/** Writes `outdir`, for a folder that also holds package.json, `bin/`, `migrations/`, `models/` and `node_modules/`. */
export function bundle(outdir) {
  return build({
    absWorkingDir: root,
    entryPoints: {
      ...Object.fromEntries(programs.map((program) => [path.basename(program), `src/${program}.ts`])),
      ...library,
    },
    outdir,
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
}

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
        contents: throughDoors(readFileSync(file, 'utf8')).replace(imports, (_, clause, name) =>
          name === 'node:child_process' && /[\\/]commander[\\/]/.test(file)
            ? `const ${clause} = {}` // for subcommands that are programs of their own; we have none
            : constsOf(clause, name),
        ),
        loader: file.endsWith('.ts') ? 'ts' : 'js',
      }))
    },
  }
}

/**
 * `import { roles } from '#identity'` as an import of the file behind the door. esbuild cuts chunks by the files a file
 * imports, used or not: through the door a command that needs one list would load all its room, and zod (100 ms of files).
 */
function throughDoors(source) {
  return source.replace(/^import (?!type\b)\{([^}]*)\} from '#(\w+)'$/gm, (whole, clause, room) => {
    const door = doorOf(path.join(root, 'src', room, 'index.ts'))
    const lines = membersOf(clause).map((member) => {
      const [name, as = name] = member.split(' as ')
      const behind = door.get(name)
      return behind && `import { ${behind.name} as ${as} } from ${JSON.stringify(behind.file)}`
    })
    return lines.every(Boolean) ? lines.join(';') : whole
  })
}

/** What a door gives out, by name: the file it is in, and its name there. */
function doorOf(file) {
  const known = doors.get(file)
  if (known) return known
  const door = new Map()
  doors.set(file, door)
  const exports = /^export (?!type\b)(?:\{([^}]*)\}|\*) from '(\.[^']+)'$/gm
  for (const [, clause, from] of readFileSync(file, 'utf8').matchAll(exports)) {
    const target = path.resolve(path.dirname(file), from)
    if (!existsSync(target)) continue
    if (clause === undefined) for (const [name, behind] of doorOf(target)) door.set(name, behind)
    else
      for (const member of membersOf(clause)) {
        const [name, as = name] = member.split(' as ')
        door.set(as, doorOf(target).get(name) ?? { file: target, name })
      }
  }
  return door
}

/** The members of an import or export clause that are there when the program runs. */
function membersOf(clause) {
  const members = clause.split(',').map((one) => one.trim())
  return members.filter((one) => one !== '' && !one.startsWith('type '))
}

/** `net, { type Socket, connect as dial }` of `node:net`, as constants. */
function constsOf(clause, name) {
  const [, whole, named = ''] = /^(?:\* as )?(\w+)?[\s,]*(?:\{([^}]*)\})?$/.exec(clause.trim())
  const members = membersOf(named)
  const builtin = `globalThis.process.getBuiltinModule('${name}')`
  return [
    ...(whole ? [`const ${whole} = ${builtin}`] : []),
    ...(members.length > 0
      ? [`const { ${members.map((one) => one.replace(' as ', ': ')).join(', ')} } = ${builtin}`]
      : []),
  ].join(';')
}
