import { availableParallelism } from 'node:os'
import { childProgram } from '#config'
import type { Runtime } from '#runtime'
import type { EngineLog } from '../engine.ts'
import { engineLimits } from '../limits.ts'
import { LlamaEngine } from './llama-engine.ts'
import { findModelFiles } from './model-files.ts'
import type { ProgramFile } from './process-handle.ts'

export interface LlamaEngineOptions {
  /** GGUF files, or folders with some. A file without `name` is offered by its file name without ending. */
  readonly models: readonly { readonly name?: string; readonly path: string }[]
  /** Requests computed at once. */
  readonly slots?: number
  /** Threads llama.cpp computes with. Default: cores − 1; it spins while it waits, and one core runs everything else. */
  readonly threads?: number
  /** Tokens per request, prompt and answer; less when the model or the memory has less. */
  readonly contextTokens?: number
  /** Use a GPU build of llama.cpp if one is installed. Default: no. */
  readonly gpu?: boolean
  /**
   * One of llama.cpp's installed CPU builds (`haswell`, `x64` …) in place of the best for this processor. Builds differ
   * in kernel class. Default: the best.
   */
  readonly cpuBuild?: string
  /** A file that remembers the digests of model files. */
  readonly digestCache?: string
  /** The engine process's program. Default: `src/engines/llama/engine-process.ts`, in a bundle `dist/engine-process.js`. */
  readonly entry?: ProgramFile
  readonly runtime: Runtime
  readonly log: EngineLog
}

/**
 * Loads models into a process of their own and resolves when they can be used. Rejects with `PoolError`
 * `model_unreadable` when one cannot be.
 */
export async function openLlamaEngine(options: LlamaEngineOptions): Promise<LlamaEngine> {
  const { slots = engineLimits.slotsDefault, contextTokens = engineLimits.contextTokensDefault } = options
  const engine = new LlamaEngine({
    settings: {
      models: await findModelFiles(options.models),
      slots,
      threads: options.threads ?? Math.max(1, availableParallelism() - 1),
      contextTokens,
      gpu: options.gpu ?? false,
      digestCache: options.digestCache,
      cpuBuild: options.cpuBuild,
    },
    entry: options.entry ?? childProgram('engines/llama/engine-process'),
    runtime: options.runtime,
    log: options.log,
  })
  try {
    await engine.start()
    return engine
  } catch (error) {
    await engine[Symbol.asyncDispose]()
    throw error
  }
}
