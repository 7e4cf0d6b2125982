import { Command } from 'commander'
import { accountOf } from './account-name.ts'
import { creditsText, memoOf, someCredits } from './amounts.ts'
import { durationMs, settingsOf, withExamples, withSettings } from './options.ts'
import { clean, print } from './output.ts'
import { payerKeyFile } from './payer-key-file.ts'
import { PoolClient } from './pool-client.ts'
import { CommandProblem, explain, PoolRefusal } from './problem.ts'
import { sendSigned } from './send-signed.ts'

interface PayOptions {
  readonly payerKey?: string
  readonly memo?: string
  readonly expires?: number
  readonly json?: boolean
}

const payerSeedBytes = 32
/** Long enough for a pool that restarts, too short to be sent when nobody thinks of it any more. */
const defaultExpiryMs = 600_000

export function payCommand(): Command {
  const command = new Command()
    .argument('<user>', 'who is paid: id or account; a name where you may look users up')
    .argument('<credits>', 'how many, at most six decimals', someCredits)
    .option('--payer-key <file>', 'your private key (default: $XDG_CONFIG_HOME/lichen/payer-keys/default.key)')
    .option('--memo <text>', 'kept with the payment, readable by auditors', memoOf)
    .option('--expires <time>', 'the pool must have it by then (default: 10m)', durationMs)
    .action(async (who: string, amount: bigint, options: PayOptions, self: Command) => {
      const client = new PoolClient(await settingsOf(self))
      const file = options.payerKey ?? payerKeyFile()
      const [{ readKeyFile }, { systemRuntime }, { identityFromSeed }, { encodeMessage, encodeSigned, signBatch }] =
        await Promise.all([import('#storage'), import('#runtime'), import('#crypto'), import('#protocol')])
      const seed = await readKeyFile(file, payerSeedBytes)
      if (!seed)
        throw new CommandProblem(
          'not_found',
          `There is no payer key in ${file}.`,
          'Make one: `lichen proxy --new-key`.',
        )
      const { pool_id: pool, account: from } = await client.json<{ pool_id: string; account: string }>(
        'GET',
        '/v1/prices',
      )
      const id = systemRuntime.uuid()
      const expires = systemRuntime.now() + (options.expires ?? defaultExpiryMs)
      const to = await payeeOf(client, who)
      const { memo = '' } = options
      const bytes = encodeMessage('transfer/1', { pool: Buffer.from(pool, 'hex'), from, to, amount, id, memo, expires })
      const [signature] = signBatch(identityFromSeed(seed), [{ type: 'transfer/1', bytes }])
      if (!signature) throw new Error('a batch of one has one signature')
      const wire = encodeSigned({ bytes, signature }).toString('base64url')
      const moved = await sendSigned(client, '/v1/transfers', { transfer: wire }, id)
      print(
        options.json === true,
        moved,
        () => `Paid ${clean(who)} ${creditsText(moved.amount)} credits: transfer ${id}.`,
      )
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen pay bob 2.5', 'out of the account of your API key, signed with your payer key'],
    ['lichen pay user:01936f… 2.5 --payer-key ada.key --memo lunch', 'to somebody whose account you were told'],
  ])
}

/** Who may pay need not be who may look up names. */
async function payeeOf(client: PoolClient, who: string): Promise<string> {
  try {
    return await accountOf(client, who)
  } catch (error) {
    if (!(error instanceof PoolRefusal) || error.code === 'not_found') throw error
    const { code, message } = explain(error)
    const fix = 'Only who administers the pool can look up names: give the account instead, user:<id>.'
    throw new CommandProblem(code, `The pool does not say who ${who} is: ${message}`, fix)
  }
}
