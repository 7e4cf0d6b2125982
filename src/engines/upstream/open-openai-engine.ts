import { engineLimits } from '../limits.ts'
import { type OpenAiEngineOptions, UpstreamEngine } from './upstream-engine.ts'

export type { OpenAiEngineOptions } from './upstream-engine.ts'

/**
 * An engine that passes requests on to an OpenAI-compatible server. Resolves also when the server is away: it then
 * offers nothing, says so in `problem`, and keeps looking. Throws `PoolError` `config_invalid` for an unusable address.
 */
export async function openOpenAiEngine(options: OpenAiEngineOptions): Promise<UpstreamEngine> {
  const engine = new UpstreamEngine(options, {
    firstByteMsMax: engineLimits.upstreamFirstByteMsMax,
    idleMsMax: engineLimits.upstreamIdleMsMax,
    ...options.patience,
  })
  await engine.refresh()
  return engine
}
