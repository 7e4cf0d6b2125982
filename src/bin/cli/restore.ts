import { Command } from 'commander'
import { asTyped } from '../as-typed.ts'
import { auditText } from './audit.ts'
import { settingsOf, withExamples, withSettings } from './options.ts'
import { counted, print } from './output.ts'

interface RestoreOptions {
  readonly acceptLoss?: boolean
  readonly adminKey?: string
  readonly json?: boolean
}

export function restoreCommand(): Command {
  const command = new Command()
    .argument('[file]', 'what `lichen backup` wrote; left out: the database is there and only behind')
    .option('--accept-loss', 'go on although the log has lost leaves, and sign that it has')
    .option('--signed-by <name>', 'the admin key that signs the loss: its name or its file')
    .action(async (file: string | undefined, options: RestoreOptions & { signedBy?: string }, self: Command) => {
      const settings = await settingsOf(self)
      const { restorePool } = await import('../backup/restore-pool.ts')
      const done = await restorePool(settings, {
        file,
        acceptLoss: options.acceptLoss === true,
        signedBy: options.signedBy,
      })
      print(options.json === true, done, () => {
        const { lost, checked, outside, locked } = done
        const loss =
          lost === null
            ? ''
            : `\nThe log goes on as generation ${lost.generation}; ${counted(lost.leaves, 'leaf is', 'leaves are')} lost, and that stands in it, signed.`
        const next =
          locked === null
            ? 'Start the pool: lichen up'
            : `The key of epoch ${locked} is sealed under another storage key than the one here. Put the pool’s \`sealing.key\` into the data folder, then start the pool: lichen up`
        return `Restored. ${auditText(checked, lost ?? outside)}${loss}\n${asTyped(next)}`
      })
    })
  command.addHelpText(
    'after',
    '\nThe pool must not run, and the database must be empty. All of it is restored and checked, or nothing is.',
  )
  return withExamples(withSettings(command, ['pool']), [
    ['lichen restore pool.tar.gz', 'after the disk was lost; keys lie in the data folder or in the backup'],
    ['lichen restore old.tar.gz --accept-loss --signed-by ada', 'there is no newer one'],
    ['lichen restore --accept-loss --signed-by ada', 'the database came back otherwise, and is behind'],
  ])
}
