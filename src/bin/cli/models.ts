import { Command } from 'commander'
import { asTyped } from '../as-typed.ts'
import { settingsOf, withExamples, withSettings } from './options.ts'
import { clean, print, table } from './output.ts'
import { PoolClient } from './pool-client.ts'

/** A model as `GET /v1/models` lists it. */
export interface ModelRow {
  readonly id: string
  readonly lichen?: {
    readonly digest: string | null
    readonly context?: number
    readonly features?: readonly string[]
  }
}

export function modelsCommand(): Command {
  const command = new Command().action(async (options: { json?: boolean }, self: Command) => {
    const list = await new PoolClient(await settingsOf(self)).json<{ data: ModelRow[] }>('GET', '/v1/models')
    print(options.json === true, list, () =>
      list.data.length === 0
        ? asTyped('No model: no approved worker is connected. `lichen workers ls` shows who is.')
        : table(['MODEL', 'CONTEXT', 'FEATURES', 'FILE'], list.data.map(modelLine)),
    )
  })
  withSettings(command, ['client'])
  return withExamples(command, [['lichen models', 'what workers lend right now']])
}

function modelLine({ id, lichen }: ModelRow): string[] {
  const digest = lichen?.digest ? `sha256:${lichen.digest.slice(0, 12)}` : 'an upstream'
  return [clean(id), String(lichen?.context ?? ''), lichen?.features?.join(', ') ?? '', digest]
}
