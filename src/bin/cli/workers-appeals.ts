import { Command } from 'commander'
import { exitCodes } from './exit-codes.ts'
import { settingsOf, withExamples, withSettings } from './options.ts'
import { clean, print, table } from './output.ts'
import { PoolClient } from './pool-client.ts'
import { CommandProblem } from './problem.ts'

interface AppealRow {
  readonly id: string
  readonly worker: string
  readonly statement: string
  readonly evidence: string | null
  readonly opened_at: string
  readonly outcome: string | null
  readonly because: string | null
}

const path = '/v1/admin/appeals'

/** `lichen workers appeals|decide`. */
export function appealCommands(): Command[] {
  return [appealsCommand(), decideCommand()]
}

function appealsCommand(): Command {
  const command = new Command('appeals')
    .description('list what convicted workers say for themselves, and what was decided; --json shows the evidence')
    .action(async (options: { json?: boolean }, self: Command) => {
      const data = await new PoolClient(await settingsOf(self)).all<AppealRow>(path)
      print(options.json === true, { object: 'list', data }, () =>
        data.length === 0
          ? 'No worker has appealed.'
          : table(
              ['ID', 'WORKER', 'SINCE', 'DECIDED', 'SAYS'],
              data.map(({ id, worker, opened_at: at, outcome, because, statement }) => [
                id,
                worker.slice(0, 12),
                at,
                outcome === null ? 'not yet' : clean(`${outcome}: ${because ?? ''}`),
                clean(statement).slice(0, 80),
              ]),
            ),
      )
    })
  return withExamples(withSettings(command, ['client']), [['lichen workers appeals --json', 'with the evidence']])
}

function decideCommand(): Command {
  const command = new Command('decide')
    .description('decide an appeal, once; granted: conviction and block are lifted, and what was taken goes back')
    .argument('<appeal>', 'its id')
    .option('--grant', 'the worker was wronged')
    .option('--refuse', 'the conviction stands')
    .requiredOption('--because <text>', 'why; on record')
    .action(async (id: string, options: Decision, self: Command) => {
      const granted = options.grant === true
      if (granted === (options.refuse === true)) {
        throw new CommandProblem(
          'invalid_request',
          'It is one or the other.',
          'Give --grant or --refuse.',
          exitCodes.usage,
        )
      }
      const client = new PoolClient(await settingsOf(self))
      const route = `${path}/${encodeURIComponent(id)}/decide`
      const appeal = await client.json<AppealRow>('POST', route, { granted, because: options.because })
      const renew = `Its key stays revoked until you renew it: lichen workers renew ${appeal.worker.slice(0, 12)}`
      print(options.json === true, appeal, () => (granted ? `Granted. ${renew}` : 'Refused.'))
    })
  return withExamples(withSettings(command, ['client']), [
    [
      'lichen workers decide 01a1f916-388d-7af0-b042-acba75c3064b --grant --because "the verifiers had a wrong file"',
      '',
    ],
    ['lichen workers decide 01a1f916-388d-7af0-b042-acba75c3064b --refuse --because "the replay differs again"', ''],
  ])
}

interface Decision {
  readonly grant?: boolean
  readonly refuse?: boolean
  readonly because: string
  readonly json?: boolean
}
