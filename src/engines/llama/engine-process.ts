/**
 * The engine process: llama.cpp and its models, apart from the worker, so that a crash of native code ends no more
 * than the tasks it computed. Started by `openLlamaEngine` with an IPC channel; ends with it.
 */
import { getLlama, type Llama, LlamaLogLevel } from 'node-llama-cpp'
import { PoolError } from '#protocol'
import { systemRuntime } from '#runtime'
import { engineLimits } from '../limits.ts'
import { useCpuBuild } from './cpu-build.ts'
import { embed } from './embed.ts'
import type { EngineCommand, EngineEvent, EngineResult, EngineSettings, ProcessTask } from './engine-messages.ts'
import { EvaluationWatch } from './evaluation-watch.ts'
import { generate } from './generate.ts'
import { kernelClassOf } from './kernel-class.ts'
import { LoadedModel } from './loaded-model.ts'
import { Outbox } from './outbox.ts'
import { verify } from './verify.ts'

interface Running {
  readonly stop: AbortController
  /** Tokens sent and not yet taken by the reader. */
  ahead: number
  goOn: (() => void) | undefined
}

const outbox = new Outbox(systemRuntime, (events) => process.send?.(events))
const watch = new EvaluationWatch(systemRuntime)
const running = new Map<number, Running>()
const models = new Map<string, LoadedModel>()
let llama: Llama | undefined

const put = (event: EngineEvent) => outbox.put(event)

async function open(settings: EngineSettings): Promise<void> {
  if (settings.cpuBuild !== undefined) useCpuBuild(settings.cpuBuild)
  llama = await getLlama({
    gpu: settings.gpu ? 'auto' : false,
    build: 'never',
    skipDownload: true,
    progressLogs: false,
    logLevel: LlamaLogLevel.error,
    maxThreads: settings.threads,
  })
  const warn = (fields: object, message: string) => put({ type: 'log', level: 'warn', fields, message })
  for (const file of settings.models) {
    const model = await LoadedModel.open(llama, file, settings, watch, warn).catch((error: unknown) => {
      throw unreadable(file.path, error)
    })
    models.set(file.name, model)
    const { digest, contextTokens } = model.offer
    put({ type: 'log', level: 'info', fields: { model: file.name, digest, contextTokens }, message: 'model loaded' })
  }
  put({ type: 'ready', offers: [...models.values()].map(({ offer }) => offer) })
  systemRuntime.every(engineLimits.beatMs, () => put({ type: 'beat', overdueMs: watch.overdueMs() }))
}

function unreadable(file: string, error: unknown): PoolError {
  if (error instanceof PoolError) return error
  const why = error instanceof Error ? error.message : String(error)
  return new PoolError(
    'model_unreadable',
    `The model ${file} cannot be used: ${why.slice(0, 300)}`,
    'Check that it is a whole GGUF file, that it fits into memory, and that llama.cpp knows its architecture.',
  )
}

type Work = Extract<EngineCommand, { type: 'run' | 'verify' | 'classify' }>

async function run(work: Work): Promise<void> {
  const { id } = work
  const self: Running = { stop: new AbortController(), ahead: 0, goOn: undefined }
  running.set(id, self)
  try {
    put({ type: 'result', id, result: await resultOf(work, self) })
  } catch (error) {
    put(failure(id, error, self.stop.signal))
  } finally {
    running.delete(id)
  }
}

async function resultOf(work: Work, self: Running): Promise<EngineResult> {
  const { signal } = self.stop
  if (work.type === 'run') return { type: 'end', end: await compute(work.id, work.task, self) }
  if (work.type === 'verify') {
    return { type: 'evidence', evidence: await verify(modelOf(work.task.model), work.task, signal) }
  }
  return { type: 'class', kernelClass: await kernelClassOf(modelOf(work.model), work.text, signal) }
}

function modelOf(name: string): LoadedModel {
  const model = models.get(name)
  if (!model) throw new Error(`the engine has no model ${name}`)
  return model
}

async function compute(id: number, task: ProcessTask, self: Running) {
  const model = modelOf(task.model)
  if (task.kind === 'embedding') {
    const vector = (index: number, values: Float32Array) => put({ type: 'vector', id, index, values })
    return embed(model, task.request, vector, self.stop.signal)
  }
  return generate(
    model,
    task,
    (token) => {
      put({ type: 'tokens', id, tokens: [token] })
      self.ahead++
      return self.ahead < engineLimits.tokensAheadMax ? undefined : new Promise((goOn) => (self.goOn = goOn))
    },
    self.stop.signal,
    (tokens) => put({ type: 'prompt', id, tokens }),
  )
}

function failure(id: number, error: unknown, signal: AbortSignal): EngineEvent {
  if (signal.aborted) return { type: 'cancelled', id }
  if (error instanceof PoolError) return { type: 'refused', id, refusal: error.refusal }
  const message = error instanceof Error ? error.message : String(error)
  return { type: 'broken', id, message: message.slice(0, 300) }
}

function release(self: Running): void {
  const { goOn } = self
  self.goOn = undefined
  goOn?.()
}

function cancel(id: number): void {
  const self = running.get(id)
  if (!self) return
  self.stop.abort(new Error('cancelled'))
  release(self)
}

function taken(id: number, tokens: number): void {
  const self = running.get(id)
  if (!self) return
  self.ahead -= tokens
  if (self.ahead < engineLimits.tokensAheadMax) release(self)
}

async function close(): Promise<void> {
  for (const id of running.keys()) cancel(id)
  for (const model of models.values()) await model[Symbol.asyncDispose]()
  await llama?.dispose()
  process.disconnect()
}

function obey(command: EngineCommand): void {
  switch (command.type) {
    case 'open':
      open(command.settings).catch((error: unknown) => {
        put({ type: 'unusable', refusal: unreadable('file', error).refusal })
      })
      return
    case 'run':
    case 'verify':
    case 'classify':
      void run(command)
      return
    case 'cancel':
      cancel(command.id)
      return
    case 'taken':
      taken(command.id, command.tokens)
      return
    case 'close':
      void close()
  }
}

process.on('message', obey)
// The terminal's Ctrl-C reaches every process; the worker decides when this one ends.
process.on('SIGINT', () => {})
process.on('SIGTERM', () => {})
// Without a worker there is nobody to compute for. Not exit(): native threads may be in the middle of a batch.
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'))
