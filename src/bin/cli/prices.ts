import { Command, InvalidArgumentError } from 'commander'
import { creditsOf, creditsText } from './amounts.ts'
import { exitCodes } from './exit-codes.ts'
import { settingsOf, withExamples, withSettings } from './options.ts'
import { print, table } from './output.ts'
import { PoolClient } from './pool-client.ts'
import { CommandProblem } from './problem.ts'

/** A price as the pool lists it: micro-credits for one unit. */
interface PriceRow {
  readonly model: string
  readonly unit: string
  readonly amount: string
  readonly valid_from: string
  readonly current: boolean
  readonly set_by: string
}

const path = '/v1/admin/prices'

export function pricesCommand(): Command {
  const group = new Command().addCommand(listCommand(), { isDefault: true }).addCommand(setCommand())
  return withExamples(group, [
    ['lichen prices', 'what everything costs'],
    ['lichen prices set big-model --completion-token 0.0009', 'one model, from now on'],
  ])
}

function listCommand(): Command {
  const command = new Command('ls')
    .description('list prices, those that begin later too')
    .action(async (options: { json?: boolean }, self: Command) => {
      const list = await new PoolClient(await settingsOf(self)).json<{ data: PriceRow[] }>('GET', path)
      print(options.json === true, list, () => priceTable(list.data))
    })
  return withExamples(withSettings(command, ['client']), [['lichen prices ls --json', 'for a script']])
}

function priceTable(prices: readonly PriceRow[]): string {
  const head = ['MODEL', 'UNIT', 'CREDITS', 'COUNTS', 'SET BY']
  const rows = prices.map(({ model, unit, amount, valid_from: from, current, set_by: by }) => {
    const counts = current ? 'now' : `from ${from}`
    return [model, unit, creditsText(amount), counts, by]
  })
  return table(head, rows)
}

interface SetOptions {
  readonly promptToken?: bigint
  readonly completionToken?: bigint
  readonly from?: string
  readonly json?: boolean
}

function setCommand(): Command {
  const command = new Command('set')
    .description('set what tokens of a model cost; running requests keep their prices')
    .argument('<model>', 'its name; `*` for every model without a price of its own')
    .option('--prompt-token <credits>', 'for one token that is read', creditsOf)
    .option('--completion-token <credits>', 'for one token that is written', creditsOf)
    .option('--from <time>', 'from when on, such as 2027-01-01T00:00:00Z (default: now)', timeOf)
    .action(async (model: string, options: SetOptions, self: Command) => {
      const { promptToken, completionToken, from, json } = options
      if (promptToken === undefined && completionToken === undefined) {
        const fix = 'Give --prompt-token, --completion-token, or both.'
        throw new CommandProblem('config_invalid', 'There is no price to set.', fix, exitCodes.usage)
      }
      const body = {
        model,
        ...(promptToken === undefined ? {} : { prompt_token: promptToken.toString() }),
        ...(completionToken === undefined ? {} : { completion_token: completionToken.toString() }),
        ...(from === undefined ? {} : { valid_from: from }),
      }
      const made = await new PoolClient(await settingsOf(self)).json<{ data: PriceRow[] }>('POST', path, body)
      print(json === true, made, () => priceTable(made.data))
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen prices set big-model --prompt-token 0.0002 --completion-token 0.0009', 'from now on'],
    ["lichen prices set '*' --completion-token 0.0005 --from 2027-01-01T00:00:00Z", 'all others, from New Year on'],
  ])
}

/** RFC 3339 in UTC. */
function timeOf(text: string): string {
  const ms = /^\d{4}-\d\d-\d\d(T[\d:.]+(Z|[+-]\d\d:\d\d))?$/.test(text) ? Date.parse(text) : Number.NaN
  if (!Number.isFinite(ms)) throw new InvalidArgumentError('Give a day or a time such as 2027-01-01T00:00:00Z.')
  return new Date(ms).toISOString()
}
