import { Command, InvalidArgumentError, Option } from 'commander'
import { type LabResult, type LabRow, labDefaults, labHonestMin, runLab, zoo } from '#verification'
import { positive, share, withExamples } from './options.ts'
import { counted, dim, green, print, red, table } from './output.ts'
import { CommandProblem } from './problem.ts'

interface LabOptions {
  readonly workers: number
  readonly cheaters: number
  readonly rate: number
  readonly seed: number
  readonly requests: number
  readonly cases: number
  readonly adversary?: string
  readonly json?: boolean
}

export function labCommand(): Command {
  const command = new Command()
    .option('--workers <n>', 'workers of a pool, each of an operator of its own', positive, labDefaults.workers)
    .option('--cheaters <n>', 'cheaters among them', positive, labDefaults.cheaters)
    .option(
      '--rate <share>',
      'share of answers that is false, where the adversary has none of its own',
      rate,
      labDefaults.rate,
    )
    .option('--seed <n>', 'the same seed gives the same result', positive, labDefaults.seed)
    .option('--requests <n>', 'requests that honest pools answer', positive, labDefaults.requests)
    .option('--cases <n>', 'cases of each adversary', positive, labDefaults.cases)
    .addOption(new Option('--adversary <name>', 'only this one').choices(zoo.map(({ name }) => name)))
    .option('--json', 'machine-readable output')
    .action((options: LabOptions) => lab(options))
  command.addHelpText(
    'after',
    '\nThe pool’s own sampling, judging, charts and votes, with simulated workers in virtual time; no pool is needed.\nThe exit code is 1 when an honest worker was convicted.',
  )
  return withExamples(command, [
    ['lichen lab', 'all adversaries, measured beside theory'],
    ['lichen lab --adversary turncoat --seed 8', 'one of them, with other dice'],
    ['lichen lab --requests 1000000 --json', 'for a script'],
  ])
}

function rate(text: string): number {
  const number = share(text)
  if (number > 1) throw new InvalidArgumentError('Give a share above 0 and at most 1.')
  return number
}

function lab({ json, adversary, ...plan }: LabOptions): void {
  const together = Math.max(plan.cheaters, ...zoo.map((one) => one.together ?? 0))
  if (plan.workers - together < labHonestMin) {
    const fix = `Give \`--workers ${together + labHonestMin}\` or more.`
    throw new CommandProblem('config_invalid', `Beside the cheaters a lab needs ${labHonestMin} workers.`, fix, 2)
  }
  const chosen = adversary === undefined ? {} : { adversaries: [adversary] }
  const result = runLab({ ...plan, ...chosen }, progressLine())
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')
  print(json === true, json ? labDocument(result) : null, () => labText(result))
  if (result.falseConvictions > 0) process.exitCode = 1
}

/** How far it is, on a terminal only. */
function progressLine(): ((what: string, share: number) => void) | undefined {
  if (process.stderr.isTTY !== true) return undefined
  return (what, share) => process.stderr.write(`\r\x1b[KPlaying: ${what} ${Math.floor(share * 100)} %`)
}

/** What `--json` prints. Delays in requests, or in verdicts for those found as verifiers; profit in earnings of a request. */
function labDocument({ plan, honest, falseConvictions, rows, goals }: LabResult) {
  return {
    plan,
    false_convictions: falseConvictions,
    false_conviction_share_max: honest.falseConvictionMax,
    honest: {
      requests: honest.requests,
      check_rate: honest.checkRate,
      check_rate_theory: honest.expectedCheckRate,
      compute_overhead: honest.overhead,
      alarms: honest.alarms,
      alarms_theory: honest.expectedAlarms,
    },
    adversaries: Object.fromEntries(rows.map((row) => [row.name, rowDocument(row)])),
    goals,
  }
}

function rowDocument({ asVerifier, measured, expected }: LabRow) {
  return {
    delay_unit: asVerifier ? 'verdict' : 'request',
    cases: measured.cases,
    caught: measured.caught,
    delay_mean: measured.delayMean,
    delay_mean_theory: expected.delayMean,
    delay_p95: measured.delayP95,
    delay_p95_theory: expected.delayP95,
    check_rate: measured.checkRate,
    check_rate_theory: expected.checkRate,
    attacker_profit: measured.profit,
    attacker_profit_theory: expected.profit,
  }
}

export function labText(result: LabResult): string {
  const { honest, falseConvictions, rows, goals } = result
  const head = [
    'adversary',
    'caught',
    'mean',
    'theory',
    'P95',
    'theory',
    'checked',
    'theory',
    'profit',
    'theory',
    'what it does',
  ]
  const body = rows.map(({ name, does, asVerifier, measured, expected }) => [
    name,
    `${measured.caught}/${measured.cases}`,
    `${one(measured.delayMean)}${asVerifier ? ' v' : ''}`,
    one(expected.delayMean),
    String(measured.delayP95),
    String(expected.delayP95),
    percent(measured.checkRate),
    expected.checkRate === null ? '–' : percent(expected.checkRate),
    one(measured.profit),
    expected.profit === null ? '–' : one(expected.profit),
    does,
  ])
  return [
    table(head, body),
    dim(
      'Delays until the conviction in requests (v: in verdicts). Profit against honest work, in earnings of a request.',
    ),
    '',
    `Honest workers: ${counted(falseConvictions, 'false conviction', 'false convictions')}; in ${honest.requests.toLocaleString('en')} requests at most ${honest.falseConvictionMax.toExponential(1)} of a request (95 %).`,
    `  checked ${percent(honest.checkRate)} (theory ${percent(honest.expectedCheckRate)}), compute ${percent(honest.overhead)}, alarms ${honest.alarms} (theory ${honest.expectedAlarms.toPrecision(2)})`,
    '',
    ...goals.map(goalText),
  ].join('\n')
}

function goalText({ goal, limit, measured, expected, met }: LabResult['goals'][number]): string {
  const theory = expected === null ? '' : ` (theory ${precise(expected)})`
  return `${met ? green('met   ') : red('missed')}  ${goal}: ${precise(measured)}${theory}, at most ${limit}`
}

/** Enough digits to see by how much a goal is missed. */
const precise = (value: number) => String(Number(value.toPrecision(4)))
const one = (value: number) => value.toFixed(1)
const percent = (value: number) => `${(100 * value).toFixed(1)} %`
