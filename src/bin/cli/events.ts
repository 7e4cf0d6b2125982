import { Command } from 'commander'
import { systemRuntime } from '#runtime'
import { durationMs, settingsOf, withExamples, withSettings } from './options.ts'
import { clean, print, table } from './output.ts'
import { PoolClient } from './pool-client.ts'

interface EventRow {
  readonly id: string
  readonly type: string
  readonly subject: string
  readonly at: string
  readonly details: Readonly<Record<string, string | number | boolean>>
}

interface Options {
  readonly json?: boolean
  readonly since: number
  readonly type?: string
}

export function eventsCommand(): Command {
  const command = new Command()
    .option('--since <time>', 'how far back: 30m, 24h, 7d; events are kept 30 days', durationMs, 86_400_000)
    .option(
      '--type <types>',
      'only these, with commas: worker_joined, worker_left, circuit_opened, circuit_closed, worker_blocked, worker_unblocked, workers_rotated, peer_handshake, overview, peer_status, witness_silent, witness_back, model_offered, model_fetched, model_refused, model_withdrawn',
    )
    .action(async (options: Options, self: Command) => {
      const since = new Date(systemRuntime.now() - options.since).toISOString()
      const type = options.type === undefined ? '' : `&type=${encodeURIComponent(options.type)}`
      const route = `/v1/admin/events?since=${encodeURIComponent(since)}${type}`
      const data = await new PoolClient(await settingsOf(self)).all<EventRow>(route)
      print(options.json === true, { object: 'list', data }, () =>
        data.length === 0 ? 'Nothing happened.' : table(['WHEN', 'WHAT', 'WHOM', 'DETAILS'], data.map(eventLine)),
      )
    })
  withSettings(command, ['client'])
  return withExamples(command, [
    ['lichen events', 'what happened since yesterday'],
    ['lichen events --type circuit_opened --since 7d', 'who failed too often this week'],
  ])
}

function eventLine({ at, type, subject, details }: EventRow): string[] {
  const words = Object.entries(details).map(([name, value]) => `${name}: ${clean(String(value))}`)
  return [at, type, subject.slice(0, 12), words.join(', ')]
}
