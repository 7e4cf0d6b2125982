import { Command } from 'commander'
import { settingsOf, withExamples, withSettings } from './options.ts'
import { print } from './output.ts'
import { PoolClient } from './pool-client.ts'

const base = '/v1/admin/federation'

/** `lichen fed kill|resume`. */
export function switchCommands(): Command[] {
  return [killCommand(), resumeCommand()]
}

interface Options {
  readonly reason?: string
  readonly json?: boolean
}

function killCommand(): Command {
  const command = new Command('kill')
    .description('stop all federation at once, in both directions; clients and workers notice nothing')
    .option('--reason <text>', 'kept with the act in the log')
    .action((options: Options, self: Command) =>
      flip(self, options, 'kill', 'Federation is off. `lichen fed resume` lets it run again.'),
    )
  return withExamples(withSettings(command, ['client']), [
    ['lichen fed kill --reason "a peer misbehaves"', 'refuse and call nobody, from this moment'],
    ['touch /etc/iamine/fed_disable', 'the same without a running pool, as root'],
  ])
}

function resumeCommand(): Command {
  const command = new Command('resume')
    .description('let federation run again; refused while a file keeps it off')
    .option('--reason <text>', 'kept with the act in the log')
    .action((options: Options, self: Command) => flip(self, options, 'resume', 'Federation runs.'))
  return withExamples(withSettings(command, ['client']), [
    ['lichen fed resume', 'after `lichen fed kill`'],
    ['lichen fed resume --json', 'for a script'],
  ])
}

async function flip(self: Command, { reason, json }: Options, act: 'kill' | 'resume', done: string): Promise<void> {
  const client = new PoolClient(await settingsOf(self))
  const toggle = await client.json<object>('POST', `${base}/${act}`, { reason: reason ?? '' })
  print(json === true, toggle, () => done)
}
