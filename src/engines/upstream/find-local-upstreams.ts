import { deadlineSignal, type Runtime } from '#runtime'
import { engineLimits } from '../limits.ts'
import { listModels } from './list-models.ts'
import { apiRoot, UpstreamClient } from './upstream-client.ts'

/** An inference server that runs on this machine. */
export interface LocalUpstream {
  /** `Ollama` or `llama-server`, by its usual port. */
  readonly name: string
  readonly baseUrl: string
  readonly models: readonly string[]
}

const usualPlaces = [
  { name: 'Ollama', baseUrl: 'http://127.0.0.1:11434' },
  { name: 'llama-server', baseUrl: 'http://127.0.0.1:8080' },
] as const

/** Looks at the usual ports of this machine, once. Only call it when the operator asked for it. */
export async function findLocalUpstreams(
  runtime: Runtime,
  places: readonly { name: string; baseUrl: string }[] = usualPlaces,
): Promise<LocalUpstream[]> {
  const found = await Promise.all(places.map((place) => probe(runtime, place)))
  return found.filter((one) => one !== undefined)
}

async function probe(runtime: Runtime, place: { name: string; baseUrl: string }): Promise<LocalUpstream | undefined> {
  const ms = engineLimits.localProbeMsMax
  await using client = new UpstreamClient(apiRoot(place.baseUrl), undefined, 1, { firstByteMsMax: ms, idleMsMax: ms })
  using deadline = deadlineSignal(runtime, ms, new Error('nobody there'))
  try {
    const models = (await listModels(client, deadline.signal)).map(({ id }) => id)
    return models.length === 0 ? undefined : { ...place, models }
  } catch {
    return undefined // nothing listens, or something else does
  }
}
