/**
 * Engines: how a worker computes inference.
 *
 * Owns    llama.cpp in a process of its own, any OpenAI-compatible upstream, the sampler, JSON schema grammars,
 *         looking at other workers' answers again.
 * Imports config, crypto, protocol, runtime.
 * Always  an engine's crash ends its tasks, never the worker; what it sends out of a model are token ids and exact bytes.
 */
export type { Engine, EngineEnd, EngineSink, EngineTask } from './engine.ts'
export { checkModels } from './llama/check-models.ts'
export { describeModels } from './llama/describe-models.ts'
export { openLlamaEngine } from './llama/open-llama-engine.ts'
export { findLocalUpstreams } from './upstream/find-local-upstreams.ts'
export { openOpenAiEngine } from './upstream/open-openai-engine.ts'
