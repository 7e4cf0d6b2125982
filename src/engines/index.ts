/**
 * Engines: how a worker computes inference.
 *
 * Owns    llama.cpp in a process of its own, any OpenAI-compatible upstream, the sampler, JSON schema grammars.
 * Imports config, crypto, protocol, runtime.
 * Always  an engine's crash ends its tasks, never the worker; what it sends out of a model are token ids and exact bytes.
 */
export type { Engine, EngineEnd, EngineLog, EngineSink, EngineTask, EngineTaskOf } from './engine.ts'
export { engineLimits } from './limits.ts'
export type { LlamaEngine } from './llama/llama-engine.ts'
export { type LlamaEngineOptions, openLlamaEngine } from './llama/open-llama-engine.ts'
export { canResume } from './resumable.ts'
export { findLocalUpstreams, type LocalUpstream } from './upstream/find-local-upstreams.ts'
export { type OpenAiEngineOptions, openOpenAiEngine } from './upstream/open-openai-engine.ts'
