import { mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'

interface Binding {
  loadBackends(folder: string): void
  /** `undefined` as long as nothing is loaded. */
  getGpuType(): unknown
}

const cpuLibrary = /^(?:lib)?ggml-cpu-([\w.-]+)\.(?:so|dylib|dll)$/

/**
 * Makes llama.cpp compute with one of its installed CPU builds (`haswell`, `zen4`, `x64` …) in place of the best this
 * processor can run. The library takes the first that is loaded, so this comes before `getLlama`. A name that is not
 * installed, or is too new for the processor, throws.
 */
export function useCpuBuild(name: string): void {
  const { binding, folder, builds } = installed()
  const file = builds.get(name)
  if (file === undefined) {
    throw new Error(`llama.cpp is not installed in a CPU build "${name}", only in: ${[...builds.keys()].join(', ')}`)
  }
  const only = mkdtempSync(path.join(os.tmpdir(), 'lichen-cpu-')) // llama.cpp picks the best of a folder
  try {
    symlinkSync(path.join(folder, file), path.join(only, file))
    binding.loadBackends(only)
    if (binding.getGpuType() === undefined) throw new Error(`this processor cannot run the CPU build "${name}"`)
  } finally {
    rmSync(only, { recursive: true })
  }
}

/** Where node-llama-cpp keeps its prebuilt files: in a package per platform, beside its own. */
function installed(): { binding: Binding; folder: string; builds: Map<string, string> } {
  const require = createRequire(import.meta.resolve('node-llama-cpp'))
  const platform = `${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`
  const folder = path.join(path.dirname(require.resolve(`@node-llama-cpp/${platform}`)), '..', 'bins', platform)
  const builds = new Map<string, string>()
  for (const file of readdirSync(folder).sort()) {
    const [, name] = cpuLibrary.exec(file) ?? []
    if (name !== undefined) builds.set(name, file)
  }
  return { binding: require(path.join(folder, 'llama-addon.node')), folder, builds }
}
