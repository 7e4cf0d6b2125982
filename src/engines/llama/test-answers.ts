import { readFileSync, writeFileSync } from 'node:fs'
import { readGgufFileInfo } from 'node-llama-cpp'
import type { ChatRequest, CheckTask, Evidence, Token } from '#protocol'
import { systemRuntime } from '#runtime'
import type { EngineEnd } from '../engine.ts'
import type { LlamaEngine } from './llama-engine.ts'
import { type LlamaEngineOptions, openLlamaEngine } from './open-llama-engine.ts'

/** Answers and their checks, for tests and benchmarks. */

export interface Question {
  readonly model: string
  readonly content: string
  readonly request?: Partial<ChatRequest>
  readonly seed?: Buffer
  readonly maxTokens?: number
  readonly isolated?: boolean
  readonly resume?: readonly number[]
}

export interface Answer extends EngineEnd {
  readonly question: Question
  readonly tokens: readonly Token[]
}

export const never = new AbortController().signal
const quiet = { info() {}, warn() {} }

export const openQuietly = (options: Omit<LlamaEngineOptions, 'runtime' | 'log'>) =>
  openLlamaEngine({ threads: 1, ...options, runtime: systemRuntime, log: quiet })

function taskOf({ model, content, request, seed = Buffer.alloc(32, 7), maxTokens = 48 }: Question) {
  const whole: ChatRequest = { model, messages: [{ role: 'user', content }], ...request }
  return { kind: 'chat' as const, model, request: whole, choice: 0, seed, maxTokens }
}

/** A build that every processor of this architecture can run, and that is not the best for any recent one. */
export const plainBuild = process.arch === 'arm64' ? 'armv8.0_1' : 'x64'

export async function answer(engine: LlamaEngine, question: Question): Promise<Answer> {
  const tokens: Token[] = []
  const sink = {
    tokens: (more: Token[]) => {
      tokens.push(...more)
    },
    delta() {},
    vector() {},
  }
  const { isolated = false, resume = [] } = question
  const task = { ...taskOf(question), body: Buffer.from(question.content), resume, isolated }
  return { ...(await engine.run(task, sink, never)), question, tokens }
}

/** Four at a time, so that batches mix; results in order. */
export async function inLanes<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  const waiting = items.entries()
  const lane = async () => {
    for (const [n, item] of waiting) results[n] = await work(item)
  }
  await Promise.all([lane(), lane(), lane(), lane()])
  return results
}

/** Checks an answer as the answer to `question`, which it may not be. */
export function check(
  engine: LlamaEngine,
  { question, tokens }: Pick<Answer, 'question' | 'tokens'>,
  more: Partial<CheckTask> = {},
  signal = never,
): Promise<Evidence> {
  const contextTokens = engine.offers.find(({ name }) => name === question.model)?.contextTokens ?? 0
  const task = { ...taskOf(question), tokens, contextTokens, replay: 'prefill' as const, top: 1, ...more }
  return engine.verify(task as CheckTask, signal)
}

export interface Score {
  /** Mean margin, each counted up to 3. */
  readonly mean: number
  /** Largest margin of a position. */
  readonly worst: number
  /** Margin of the end token; 0 when the tokens show the ending themselves. */
  readonly ending: number
}

export function scoreOf({ positions, ending }: Evidence): Score {
  const margins = positions.map(({ margin }) => margin)
  const sum = margins.reduce((total, margin) => total + Math.min(3, margin), 0)
  return {
    mean: sum / Math.max(1, margins.length),
    worst: Math.max(0, ...margins),
    ending: ending.end?.margin ?? 0,
  }
}

/** Upper end of the one-sided 95 % Clopper–Pearson interval when none of `trials` failed (the "rule of three"). */
export const boundOfNone = (trials: number) => 1 - 0.05 ** (1 / trials)

const q8Block = { bytes: 34, ggmlType: 8 }

/** Copies a Q8_0 model and leaves only 15 of its 255 levels: what a 4-bit file keeps, in a file of 8 bits. */
export async function writeFourBitCopy(from: string, to: string): Promise<void> {
  const { fullTensorInfo } = await readGgufFileInfo(from, { logWarnings: false })
  const file = readFileSync(from)
  for (const { ggmlType, dimensions, fileOffset } of fullTensorInfo ?? []) {
    if (ggmlType !== q8Block.ggmlType) continue
    const blocks = dimensions.reduce((product: number, size) => product * Number(size), 1) / 32
    for (let n = 0; n < blocks; n++) {
      const at = Number(fileOffset) + n * q8Block.bytes + 2
      for (let i = at; i < at + 32; i++) file.writeInt8(Math.round(file.readInt8(i) / 18) * 18, i)
    }
  }
  writeFileSync(to, file)
}
