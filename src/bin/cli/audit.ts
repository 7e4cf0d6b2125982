import { createWriteStream } from 'node:fs'
import { finished } from 'node:stream/promises'
import { Command } from 'commander'
import type { SamplingCount } from '#verification'
import type { AuditCounts } from '../audit-pool.ts'
import { settingsOf, withExamples, withSettings } from './options.ts'
import { counted, print } from './output.ts'
import { CommandProblem } from './problem.ts'

interface AuditOptions {
  readonly json?: boolean
  readonly since?: string
}

export function auditCommand(): Command {
  const command = new Command()
    .option('--since <from>', '`last`: only what came since the last audit; or the number of the first leaf to look at')
    .action(async (options: AuditOptions, self: Command) => {
      const settings = await settingsOf(self)
      const { runAudit } = await import('../run-audit.ts')
      const done = await runAudit(settings, sinceOf(options.since), progressLine())
      print(options.json === true, done, () => auditText(done.checked, done.outside))
    })
  command.addHelpText(
    'after',
    '\nIt reads the database itself: that of the running pool, or of a stopped one. Nothing is changed. The first thing\nthat is wrong is said in one sentence, and the exit code is 1.',
  )
  command.addCommand(samplingCommand())
  return withExamples(withSettings(command, ['pool']), [
    ['lichen audit', 'recompute everything'],
    ['lichen audit --since last', 'what came since the last audit'],
    ['lichen audit --json', 'for a script'],
  ])
}

function samplingCommand(): Command {
  const command = new Command('sampling')
    .description('decide again which answers of an hour had to be checked, and whether they were')
    .requiredOption('--epoch <number>', 'the UTC hour, counted from 1970; a receipt names it')
    .option('--out <file>', 'write the disclosure there: all that a stranger needs besides the log')
    .action(async (options: { epoch: string; out?: string; json?: boolean }, self: Command) => {
      const settings = await settingsOf(self)
      const epoch = Number(options.epoch)
      if (!/^\d{1,9}$/.test(options.epoch))
        throw new CommandProblem('config_invalid', '--epoch is not the number of an hour.', 'See `--help`.', 2)
      const { runAuditSampling } = await import('../run-audit-sampling.ts')
      const out = options.out === undefined ? undefined : createWriteStream(options.out, { flags: 'wx' })
      const count = await runAuditSampling(settings, epoch, (text) => out?.write(text))
      if (out) {
        out.end()
        await finished(out)
      }
      print(options.json === true, { ok: true, epoch, ...count }, () => samplingText(epoch, count))
    })
  return withExamples(withSettings(command, ['pool']), [
    ['lichen audit sampling --epoch 497823', 'every decision of that hour'],
    ['lichen audit sampling --epoch 497823 --out epoch.ndjson', 'and the text that proves it'],
  ])
}

function samplingText(epoch: number, { receipts, statements, selected, checked, waived }: SamplingCount): string {
  return [
    `Every decision of epoch ${epoch} is what its key says.`,
    `${counted(receipts, 'receipt', 'receipts')}, ${counted(statements, 'statement', 'statements')} of workers, ${selected} picked; ${checked} checked, ${waived} waived.`,
  ].join('\n')
}

function sinceOf(text: string | undefined): 'last' | number | undefined {
  if (text === undefined || text === 'last') return text
  if (/^\d{1,15}$/.test(text)) return Number(text)
  throw new CommandProblem('config_invalid', '--since is neither `last` nor the number of a leaf.', 'See `--help`.', 2)
}

/** How far it is, on a terminal only. */
function progressLine(): ((step: string, done: number, of: number) => void) | undefined {
  if (process.stderr.isTTY !== true) return undefined
  return (step, done, of) => {
    const share = of > 0 ? ` ${Math.floor((done / of) * 100)} %` : ''
    process.stderr.write(`\r\x1b[KAuditing: ${step}${share}${step === 'tables' ? '\r\x1b[K' : ''}`)
  }
}

export function auditText(checked: AuditCounts, outside: number | null): string {
  const { from, leaves, checkpoints, acts, orders, receipts, transfers, epochs, checks, accounts } = checked
  const behind = from === 0 ? '' : ` behind the first ${from}, which were taken as they are`
  const copy =
    outside === null
      ? 'There is no checkpoint outside the database to compare with.'
      : `They go on from the checkpoint outside the database (${counted(outside, 'leaf', 'leaves')}).`
  return [
    'Everything is as it was logged.',
    `${counted(leaves, 'leaf', 'leaves')} of the log${behind}, and ${counted(checkpoints, 'checkpoint', 'checkpoints')}, every signature verified. ${copy}`,
    `${counted(orders, 'order', 'orders')}, ${counted(receipts, 'receipt', 'receipts')}, ${counted(transfers, 'transfer', 'transfers')} and ${counted(acts, 'act', 'acts')} against their leaves, and each other.`,
    `${counted(epochs, 'entry', 'entries')} of epochs and ${counted(checks, 'verdict', 'verdicts')} on checks against their leaves.`,
    `${counted(accounts, 'account', 'accounts')}: balances, holds and budgets recomputed.`,
  ].join('\n')
}
