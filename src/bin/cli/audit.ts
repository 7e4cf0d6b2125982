import { closeSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { Command } from 'commander'
import type { SamplingCount } from '#verification'
import type { AuditCounts } from '../audit-pool.ts'
import type { AgainstResult } from '../run-audit-against.ts'
import { exitCodes } from './exit-codes.ts'
import { settingsOf, withExamples, withSettings } from './options.ts'
import { counted, print } from './output.ts'
import { CommandProblem, explain } from './problem.ts'
import { pinOf } from './verify.ts'

interface AuditOptions {
  readonly json?: boolean
  readonly since?: string
  readonly against?: string
  readonly save?: string
}

export function auditCommand(): Command {
  const command = new Command()
    .option('--since <from>', '`last`: only what came since the last audit; or the number of the first leaf to look at')
    .option('--against <witness>', 'only compare the log with what this peer (id, URL, or a saved file) has seen of it')
    .option('--save <file>', 'with --against: keep what the peer has seen in a new file')
    .action(async (options: AuditOptions, self: Command) => {
      const settings = await settingsOf(self)
      if (options.against !== undefined) {
        if (options.since !== undefined)
          throw new CommandProblem('config_invalid', '--since does not go with --against.', 'Run them one by one.', 2)
        const { runAuditAgainst } = await import('../run-audit-against.ts')
        const result = refuseContradicted(await runAuditAgainst(settings, options.against, options.save))
        print(options.json === true, { ok: true, ...result }, () => againstText(result))
        return
      }
      if (options.save !== undefined)
        throw new CommandProblem('config_invalid', '--save goes with --against.', 'See `--help`.', 2)
      const { runAudit } = await import('../run-audit.ts')
      const done = await runAudit(settings, sinceOf(options.since), progressLine())
      print(options.json === true, done, () => auditText(done.checked, done.outside))
    })
  command.addHelpText(
    'after',
    '\nIt reads the database itself: that of the running pool, or of a stopped one. Nothing is changed. The first thing\nthat is wrong is said in one sentence, and the exit code is 1. A witness that cannot be asked is exit code 3.',
  )
  command.addCommand(samplingCommand())
  return withExamples(withSettings(command, ['pool']), [
    ['lichen audit', 'recompute everything'],
    ['lichen audit --since last', 'what came since the last audit'],
    ['lichen audit --against 3fa9c1d2', 'does the log still hold all that this bonded pool has seen of it?'],
    ['lichen audit --against 3fa9c1d2 --save seen.json', 'and keep it, for a day on which that pool is away'],
    ['lichen audit --against seen.json', 'the same without a network'],
    ['lichen audit --json', 'for a script'],
  ])
}

function samplingCommand(): Command {
  const command = new Command('sampling')
    .description('decide again which answers of an hour had to be checked, and whether they were')
    .requiredOption('--epoch <number>', 'the UTC hour, counted from 1970; a receipt names it')
    .option('--out <file>', 'write the disclosure there: all that a stranger needs besides the log')
    .option('--at <url>', 'as a stranger: from what the pool at this address shows to everybody')
    .option('--pool <key>', 'with --at: the pool it must be: its id or its public key')
    .action(async (options: SamplingOptions, self: Command) => {
      const settings = await settingsOf(self)
      const epoch = Number(options.epoch)
      if (options.pool !== undefined && options.at === undefined)
        throw new CommandProblem('config_invalid', '--pool goes with --at.', 'See `--help`.', 2)
      const pin = pinOf(options.pool)
      if (!/^\d{1,9}$/.test(options.epoch))
        throw new CommandProblem('config_invalid', '--epoch is not the number of an hour.', 'See `--help`.', 2)
      using out = options.out === undefined ? undefined : new NewFile(options.out)
      const onLine = (text: Buffer) => out?.add(text)
      const count =
        options.at === undefined
          ? await (await import('../run-audit-sampling.ts')).runAuditSampling(settings, epoch, onLine)
          : await asStranger(options.at, pin, epoch, onLine)
      print(options.json === true, { ok: true, epoch, ...count }, () => samplingText(epoch, count))
    })
  return withExamples(withSettings(command, ['pool']), [
    ['lichen audit sampling --epoch 497823', 'every decision of that hour'],
    ['lichen audit sampling --epoch 497823 --out epoch.ndjson', 'and the text that proves it'],
    ['lichen audit sampling --epoch 497823 --at https://pool.example --pool 3fa4…', 'by anybody, of any pool'],
  ])
}

/** A file that was not there before, and is not there afterwards if nothing came. */
class NewFile implements Disposable {
  readonly #path: string
  readonly #file: number
  #isEmpty = true

  /** @throws CommandProblem. */
  constructor(path: string) {
    this.#path = path
    this.#file = this.#do(() => openSync(path, 'wx'))
  }

  /** @throws CommandProblem. */
  add(text: Buffer): void {
    this.#do(() => writeFileSync(this.#file, text))
    this.#isEmpty = false
  }

  [Symbol.dispose](): void {
    closeSync(this.#file)
    if (this.#isEmpty) rmSync(this.#path, { force: true })
  }

  #do<T>(what: () => T): T {
    try {
      return what()
    } catch (error) {
      const why = (error as NodeJS.ErrnoException).code ?? 'unknown'
      throw new CommandProblem('config_invalid', `${this.#path} cannot be written (${why}).`, 'Name a new file.', 2)
    }
  }
}

interface SamplingOptions {
  readonly epoch: string
  readonly out?: string
  readonly at?: string
  readonly pool?: string
  readonly json?: boolean
}

async function asStranger(
  at: string,
  pin: ReturnType<typeof pinOf>,
  epoch: number,
  onLine: (text: Buffer) => void,
): Promise<SamplingCount & { readonly pool: string }> {
  if (!/^https?:$/.test(URL.parse(at)?.protocol ?? ''))
    throw new CommandProblem('config_invalid', '--at is not the URL of a pool.', 'See `--help`.', 2)
  const { auditPublished } = await import('../audit-published.ts')
  return auditPublished(at, pin, epoch, onLine).catch((error: unknown) => {
    const { code, message, fix } = explain(error)
    if (code !== 'pool_unreachable') throw error
    throw new CommandProblem(code, message, fix, exitCodes.unreachable)
  })
}

function samplingText(
  epoch: number,
  { receipts, statements, selected, checked, waived, pool }: SamplingCount & { readonly pool?: string },
): string {
  const stranger =
    pool === undefined
      ? []
      : [`Read as anybody can: pool ${pool} has signed a log that holds the key, all of this, and each order.`]
  return [
    ...stranger,
    `Every decision of epoch ${epoch} is what its key says.`,
    `${counted(receipts, 'receipt', 'receipts')}, ${counted(statements, 'statement', 'statements')} of workers, ${selected} picked; ${checked} checked, ${waived} waived.`,
  ].join('\n')
}

type Held = Extract<AgainstResult, { says: 'holds' }>

/** @throws CommandProblem unless the log holds all that the witness has seen. */
export function refuseContradicted(result: AgainstResult): Held {
  const witness = result.witness.slice(0, 12)
  switch (result.says) {
    case 'holds':
      if (result.held + result.lost > 0) return result
      throw new CommandProblem(
        'not_found',
        `None of the ${counted(result.foreign, 'checkpoint', 'checkpoints')} pool ${witness} has told is signed by this pool's key.`,
        'They prove nothing about this log. Is it the right data folder?',
      )
    case 'nothing':
      throw new CommandProblem(
        'not_found',
        `Pool ${witness} has seen nothing of this pool's log.`,
        'Bonded pools are shown it within a minute: `lichen fed promote ID 3` on both sides, then `lichen fed witness`.',
      )
    case 'unreachable':
      throw new CommandProblem(
        'peer_unreachable',
        `Pool ${witness} did not say what it has seen: ${result.problem}`,
        '`lichen fed ping ID` looks closer; `lichen fed ls` shows whether the bond stands. Ask another witness, or name a file that was saved.',
        exitCodes.unreachable,
      )
    default: {
      const { size, generation, root, checkpoint } = result
      const shown = `This pool has signed, and pool ${witness} has seen, a log of ${counted(size, 'leaf', 'leaves')} (generation ${generation})`
      const now = root === null ? 'the log here is shorter' : `the first ${size} leaves here have the root ${root}`
      throw new CommandProblem(
        'history_changed',
        `${shown}; ${now}, and no admin has signed for that. The signed checkpoint:\n${checkpoint.trimEnd()}`,
        'Somebody changed the database, or restored it without `--accept-loss`. Keep a copy of it: docs/operating/incident.md.',
      )
    }
  }
}

export function againstText({ witness, held, upTo, lost, foreign, unvouched }: Held): string {
  const lines = [
    `The log holds what pool ${witness.slice(0, 12)} has seen of it: ${counted(held, 'checkpoint', 'checkpoints')}, up to ${counted(upTo, 'leaf', 'leaves')}.`,
  ]
  if (lost > 0)
    lines.push(
      `${counted(lost, 'checkpoint', 'checkpoints')} of leaves that were lost in a restore, as an admin has signed.`,
    )
  if (foreign > 0)
    lines.push(`${counted(foreign, 'checkpoint', 'checkpoints')} this pool's key did not sign: they prove nothing.`)
  if (unvouched > 0)
    lines.push(`Under ${counted(unvouched, 'checkpoint', 'checkpoints')} the signature of the witness does not hold.`)
  return [...lines, 'Whether the tables are as they were logged, `lichen audit` without --against says.'].join('\n')
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

/** `outside`: leaves of the checkpoint outside the database, null without one; or what the log has lost since that was written. */
export function auditText(
  checked: AuditCounts,
  outside: number | null | { readonly leaves: number; readonly outside: number },
): string {
  const { from, leaves, checkpoints, acts, orders, receipts, transfers, epochs, checks, accounts } = checked
  const behind = from === 0 ? '' : ` behind the first ${from}, which were taken as they are`
  const copy = outsideText(outside)
  return [
    'Everything is as it was logged.',
    `${counted(leaves, 'leaf', 'leaves')} of the log${behind}, and ${counted(checkpoints, 'checkpoint', 'checkpoints')}, every signature verified. ${copy}`,
    `${counted(orders, 'order', 'orders')}, ${counted(receipts, 'receipt', 'receipts')}, ${counted(transfers, 'transfer', 'transfers')} and ${counted(acts, 'act', 'acts')} against their leaves, and each other.`,
    `${counted(epochs, 'entry', 'entries')} of epochs and ${counted(checks, 'verdict', 'verdicts')} on checks against their leaves.`,
    `${counted(accounts, 'account', 'accounts')}: balances, holds and budgets recomputed.`,
  ].join('\n')
}

function outsideText(outside: Parameters<typeof auditText>[1]): string {
  if (outside === null) return 'There is no checkpoint outside the database to compare with.'
  if (typeof outside === 'number') {
    return `They go on from the checkpoint outside the database (${counted(outside, 'leaf', 'leaves')}).`
  }
  const copy = `the checkpoint outside the database (${counted(outside.outside, 'leaf', 'leaves')})`
  return outside.leaves === 0
    ? `They do not go on from ${copy}: that is of a later generation of the log.`
    : `They end ${outside.leaves} before ${copy}: whether it went on from them, nobody can say any more.`
}
