import { Command } from 'commander'
import { settingsOf, withExamples, withSettings } from './options.ts'

export function poolCommand(): Command {
  const command = new Command().action(async (options: { json?: boolean }, self: Command) => {
    const settings = await settingsOf(self)
    const { refuseSettings } = await import('../refuse-settings.ts')
    await refuseSettings(settings)
    const { runPool } = await import('../run-pool.ts')
    await runPool({ settings, localWorker: false, json: options.json === true })
  })
  command.addHelpText(
    'after',
    '\nWith --json one line on stdout says that it listens; "ready" in it is false until an approved worker is here.',
  )
  withSettings(command, ['pool'])
  return withExamples(command, [
    ['lichen pool', 'on 127.0.0.1:5424; workers come with `lichen worker join`'],
    ['lichen pool --host 0.0.0.0 --tls-cert pool.pem --tls-key pool.key', 'for other machines'],
    ['DATABASE_URL=postgres://lichen@db/lichen lichen pool', 'with your own PostgreSQL'],
  ])
}
