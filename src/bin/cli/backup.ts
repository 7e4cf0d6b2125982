import { Command } from 'commander'
import { settingsOf, withExamples, withSettings } from './options.ts'
import { print } from './output.ts'

export function backupCommand(): Command {
  const command = new Command()
    .argument('<file>', 'a new file, or a folder in which it gets a name of its own')
    .option('--with-keys', 'with the private keys of the pool: whoever has the file then is the pool')
    .action(async (file: string, options: { json?: boolean; withKeys?: boolean }, self: Command) => {
      const settings = await settingsOf(self)
      const { writeBackup } = await import('../backup/write-backup.ts')
      const made = await writeBackup(settings, file, options.withKeys === true)
      const keys = made.with_keys
        ? 'The private keys of the pool are in it: keep it as you keep them.'
        : `The keys of the pool are not in it: keep a copy of ${listed(made.keys)} elsewhere.`
      print(options.json === true, made, () => `${made.file}\n${made.rows} rows of ${made.tables} tables. ${keys}`)
    })
  return withExamples(withSettings(command, ['pool']), [
    ['lichen backup /var/backups', 'while the pool runs; from cron, every night'],
    ['lichen backup pool.tar.gz --with-keys', 'once, for a safe'],
  ])
}

const listed = (names: readonly string[]) => new Intl.ListFormat('en-GB').format(names)
