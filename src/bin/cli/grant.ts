import { Command } from 'commander'
import { accountOf } from './account-name.ts'
import { creditsText, memoOf, someCredits } from './amounts.ts'
import { settingsOf, withExamples, withSettings } from './options.ts'
import { clean, print } from './output.ts'
import { PoolClient } from './pool-client.ts'
import { CommandProblem } from './problem.ts'
import { sendSigned } from './send-signed.ts'
import { signingKey } from './signing-key.ts'

interface GrantOptions {
  readonly key?: string
  readonly file?: string
  readonly memo?: string
  readonly pool?: string
  readonly json?: boolean
}

export function grantCommand(): Command {
  const command = new Command()
    .argument('<user>', 'who gets them: name, id or account')
    .argument('<credits>', 'how many, at most six decimals', someCredits)
    .option('--key <name>', 'admin key that signs (default: the only one on this machine)')
    .option('--file <path>', 'the same as a file, as `lichen admin-key new --file` made it')
    .option('--memo <text>', 'kept with the grant, readable by auditors', memoOf)
    .option('--pool <id>', 'refuse to sign for a pool with another id')
    .action(async (who: string, amount: bigint, options: GrantOptions, self: Command) => {
      const client = new PoolClient(await settingsOf(self))
      const admin = await signingKey(options)
      const [{ systemRuntime }, { encodeMessage, encodeSigned, signBatch }] = await Promise.all([
        import('#runtime'),
        import('#protocol'),
      ])
      const { pool } = await client.json<{ pool: string }>('GET', '/version')
      refuseOther(pool, options.pool)
      const id = systemRuntime.uuid()
      const to = await accountOf(client, who)
      const { memo = '' } = options
      const grant = { pool: Buffer.from(pool, 'hex'), to, amount, id, memo, at: systemRuntime.now() }
      const bytes = encodeMessage('grant/1', grant)
      const [signature] = signBatch(admin, [{ type: 'grant/1', bytes }])
      if (!signature) throw new Error('a batch of one has one signature')
      const wire = encodeSigned({ bytes, signature }).toString('base64url')
      const moved = await sendSigned(client, '/v1/admin/grants', { grant: wire }, id)
      print(
        options.json === true,
        moved,
        () => `${clean(who)} got ${creditsText(moved.amount)} credits: transfer ${id}.`,
      )
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen grant ada 100', 'signed with the only admin key on this machine'],
    ['lichen grant ada 2.5 --key bob --memo "for the workshop"', 'signed with one of several'],
  ])
}

function refuseOther(pool: string, wanted: string | undefined): void {
  if (wanted === undefined || wanted === pool) return
  throw new CommandProblem('wrong_pool', `This is pool ${pool}, not the one you named.`, 'Look at --url, or at --data.')
}
