/**
 * What a check costs: processor time of the engine process for one check of an answer against making that answer, one
 * thread, one at a time, nothing reused. Linux only (`/proc`).
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { openLlamaEngine } from '#engines'
import type { ChatRequest, CheckTask, Token } from '#protocol'
import { systemRuntime } from '#runtime'
import { demoModelPath } from '#testkit'
import { writeRandomModel } from '../../tools/demo-model/random-model.ts'

/** Answers of each kind that are made and checked. */
export const rounds = 12

export interface CheckCost {
  readonly model: string
  readonly temperature: number
  readonly tokensPerAnswer: number
  readonly generateMs: number
  /** In generations. */
  readonly prefillCheck: number
  readonly isolatedCheck: number
}

/** Of the demo model and of one with 25 million random weights, at temperatures 0 and 1. */
export async function measureCheckCosts(): Promise<CheckCost[]> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'lichen-verify-'))
  const wide = path.join(folder, 'random-25m.gguf')
  const sizes = { dim: 512, layers: 8, heads: 8, kvHeads: 4, ff: 1536, context: 2048 }
  writeRandomModel(wide, { ...sizes, seed: 1, quant: 'q8_0' })
  const engine = await openLlamaEngine({
    models: [{ path: demoModelPath }, { path: wide }],
    threads: 1,
    slots: 1,
    contextTokens: 1_024,
    runtime: systemRuntime,
    log: { info() {}, warn() {} },
  })
  const never = new AbortController().signal

  /** Processor time so far in milliseconds, in steps of 10 (proc(5), fields 14 and 15). */
  function cpuMs(): number {
    const fields = readFileSync(`/proc/${engine.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
    return 10 * (Number(fields[11]) + Number(fields[12]))
  }

  async function costOf(work: () => Promise<unknown>): Promise<number> {
    const before = cpuMs()
    await work()
    return cpuMs() - before
  }

  /** Long answers: the demo model's to the question it knows, gibberish of the other. */
  function taskOf(model: string, round: number, temperature: number) {
    const known = model === 'lichen-demo' && round >= 0
    const content = known ? 'tell me about lichen' : `${round}: ${'moss and stone and rain '.repeat(12)}`
    const request: ChatRequest = { model, messages: [{ role: 'user', content }], temperature }
    return { kind: 'chat' as const, model, request, choice: 0, seed: Buffer.alloc(32, round), maxTokens: 200 }
  }

  async function generate(task: ReturnType<typeof taskOf>, isolated: boolean): Promise<Token[]> {
    const tokens: Token[] = []
    const take = (more: Token[]) => {
      tokens.push(...more)
    }
    const whole = { ...task, body: Buffer.alloc(0), resume: [], isolated }
    await engine.run(whole, { tokens: take, delta() {}, vector() {} }, never)
    return tokens
  }

  /** Drops what the only sequence remembers. */
  const forget = (model: string) => generate({ ...taskOf(model, -1, 0), maxTokens: 1 }, false)

  async function measure(model: string, temperature: number) {
    const sum = { generate: 0, prefill: 0, isolated: 0 }
    let tokens = 0
    for (let round = 0; round <= rounds; round++) {
      const task = taskOf(model, round, temperature)
      let answer: Token[] = []
      await forget(model)
      const generateMs = await costOf(async () => {
        answer = await generate(task, false)
      })
      await forget(model)
      const check: CheckTask = { ...task, tokens: answer, contextTokens: 1_024, replay: 'prefill', top: 1 }
      const prefillMs = await costOf(() => engine.verify(check, never))
      const isolatedMs = await costOf(() => engine.verify({ ...check, replay: 'isolated' }, never))
      if (round === 0) continue // warms caches
      sum.generate += generateMs
      sum.prefill += prefillMs
      sum.isolated += isolatedMs
      tokens += answer.length
    }
    const of = (ms: number) => Number((ms / sum.generate).toFixed(2))
    return {
      model,
      temperature,
      tokensPerAnswer: tokens / rounds,
      generateMs: Number((sum.generate / rounds).toFixed(1)),
      prefillCheck: of(sum.prefill),
      isolatedCheck: of(sum.isolated),
    }
  }

  const results: CheckCost[] = []
  try {
    for (const { name } of engine.offers)
      for (const temperature of [0, 1]) results.push(await measure(name, temperature))
    return results
  } finally {
    await engine[Symbol.asyncDispose]()
    rmSync(folder, { recursive: true })
  }
}
