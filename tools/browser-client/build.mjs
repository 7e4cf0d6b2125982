// `lichen/client` for browsers: one file that needs nothing, with small stand-ins for the parts of Node the code asks for.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { build } from 'esbuild'
import { root } from '../our-node.mjs'

const here = import.meta.dirname
const source = path.join(root, 'src') + path.sep

/** Bundles the client for browsers; `more` are esbuild's options. */
export function buildBrowserClient(more) {
  return build({
    absWorkingDir: root,
    entryPoints: ['src/client/index.ts'],
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    conditions: ['lichen-source'],
    inject: [path.join(here, 'buffer.ts')],
    legalComments: 'inline',
    metafile: true,
    logLevel: 'warning',
    plugins: [{ name: 'without-node', setup: withoutNode }],
    ...more,
  })
}

function withoutNode({ onResolve, onLoad, resolve }) {
  onResolve({ filter: /^node:(crypto|buffer|string_decoder)$/ }, () => ({ path: path.join(here, 'node-modules.ts') }))
  onLoad({ filter: /\.ts$/ }, ({ path: file }) => {
    if (!file.startsWith(source)) return undefined
    // Of the namespace zod also exports as `z` a bundler can leave nothing out: 400 KB of languages.
    const contents = readFileSync(file, 'utf8').replace("import { z } from 'zod'", "import * as z from 'zod'")
    return { contents, loader: 'ts' }
  })
  // Our modules do nothing when they are loaded but make constants: what nobody asks for is left out.
  onResolve({ filter: /^[#.]/ }, async ({ path: name, pluginData, ...from }) => {
    if (pluginData === 'ours' || !from.importer.startsWith(source)) return undefined
    return { ...(await resolve(name, { ...from, pluginData: 'ours' })), sideEffects: false }
  })
}
