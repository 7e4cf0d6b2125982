import { Command } from 'commander'
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
  return withExamples(withSettings(command, ['pool']), [
    ['lichen audit', 'recompute everything'],
    ['lichen audit --since last', 'what came since the last audit'],
    ['lichen audit --json', 'for a script'],
  ])
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
  const { from, leaves, checkpoints, acts, orders, receipts, transfers, accounts } = checked
  const behind = from === 0 ? '' : ` behind the first ${from}, which were taken as they are`
  const copy =
    outside === null
      ? 'There is no checkpoint outside the database to compare with.'
      : `They go on from the checkpoint outside the database (${counted(outside, 'leaf', 'leaves')}).`
  return [
    'Everything is as it was logged.',
    `${counted(leaves, 'leaf', 'leaves')} of the log${behind}, and ${counted(checkpoints, 'checkpoint', 'checkpoints')}, every signature verified. ${copy}`,
    `${counted(orders, 'order', 'orders')}, ${counted(receipts, 'receipt', 'receipts')}, ${counted(transfers, 'transfer', 'transfers')} and ${counted(acts, 'act', 'acts')} against their leaves, and each other.`,
    `${counted(accounts, 'account', 'accounts')}: balances, holds and budgets recomputed.`,
  ].join('\n')
}
