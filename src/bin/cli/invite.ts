import { Command, Option } from 'commander'
import { isLoopback } from '#config'
import { parseInvite } from '#identity'
import { asTyped } from '../as-typed.ts'
import { durationMs, settingsOf, withExamples, withSettings } from './options.ts'
import { clean, print } from './output.ts'
import { PoolClient } from './pool-client.ts'

interface Invite {
  readonly invite: string
  readonly operator: string
  readonly token_expires_at: string
  readonly worker_expires_at: string
}

export function inviteCommand(): Command {
  const command = new Command()
    .requiredOption('--operator <name>', 'whose worker it will be')
    .addOption(
      new Option('--expires <time>', 'how long the worker may serve before it must be renewed')
        .argParser(durationMs)
        .default(durationMs('30d'), '30d'),
    )
    .action(async (options: { operator: string; expires: number; json?: boolean }, self: Command) => {
      const body = { operator: options.operator, expires_in_ms: options.expires }
      const made = await new PoolClient(await settingsOf(self)).json<Invite>('POST', '/v1/admin/invites', body)
      print(options.json === true, made, () =>
        [
          `An invite for one worker of ${clean(made.operator)}, valid until ${made.token_expires_at}, to be used once:`,
          '',
          `  ${leadsHere(made.invite) ? asTyped(join) : join}${made.invite}`,
          '',
          asTyped('When it has joined, approve it: `lichen workers ls`, then `lichen workers approve ID`.'),
          ...reachOf(made.invite),
        ].join('\n'),
      )
    })
  withSettings(command, ['client'])
  return withExamples(command, [
    ['lichen invite --operator alice', 'one worker of Alice, for 30 days'],
    ['lichen invite --operator alice --expires 12h --json', 'for a script'],
  ])
}

const join = 'lichen worker join '

/** Whether an invite is good on this machine only. */
function leadsHere(text: string): boolean {
  const parsed = parseInvite(text)
  return parsed.ok && isLoopback(new URL(parsed.invite.url).hostname)
}

/** A warning when the invite leads nowhere from another machine. */
function reachOf(text: string): string[] {
  if (!leadsHere(text)) return []
  return ['', 'It leads to this machine only. For a worker elsewhere: docs/operating/tls.md and `--public-url`.']
}
