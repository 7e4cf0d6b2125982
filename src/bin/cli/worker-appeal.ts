import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { Command } from 'commander'
import { settingsOf, withExamples, withSettings } from './options.ts'
import { print } from './output.ts'
import { PoolClient } from './pool-client.ts'
import { CommandProblem } from './problem.ts'

interface Options {
  readonly because: string
  readonly evidence?: string
  readonly json?: boolean
}

/** `lichen worker appeal`: on the worker's machine, signed with its key. */
export function appealCommand(): Command {
  const command = new Command('appeal')
    .description('say to the pool why a conviction or a block of this worker is wrong; an admin decides')
    .requiredOption('--because <text>', 'what you say, at most 4,000 characters; readable by auditors of the pool')
    .option('--evidence <file>', 'a text to go with it, at most 16,000 characters: a log, versions, digests')
    .action(async (options: Options, self: Command) => {
      const settings = await settingsOf(self)
      const [{ loadMembership, loadWorkerKeys }, { encodeMessage, encodeSigned, signBatch }, { systemRuntime }] =
        await Promise.all([import('#agent'), import('#protocol'), import('#runtime')])
      const folder = path.join(settings.data, 'worker')
      const membership = await loadMembership(folder)
      if (!membership) {
        const fix = 'Name the data folder of the worker: --data.'
        throw new CommandProblem('not_found', `No worker of ${folder} has joined a pool.`, fix)
      }
      const { identity } = await loadWorkerKeys(folder, systemRuntime)
      const bytes = encodeMessage('appeal/1', {
        pool: Buffer.from(membership.poolId, 'hex'),
        worker: Buffer.from(identity.id, 'hex'),
        id: systemRuntime.uuid(),
        statement: options.because,
        evidence: options.evidence === undefined ? null : await readFile(options.evidence, 'utf8'),
        at: systemRuntime.now(),
      })
      const [signature] = signBatch(identity, [{ type: 'appeal/1', bytes }])
      if (!signature) throw new Error('a batch of one has one signature')
      const client = new PoolClient({ ...settings, url: settings.url ?? membership.url })
      const appeal = encodeSigned({ bytes, signature }).toString('base64url')
      const opened = await client.json<{ id: string }>('POST', '/v1/appeals', { appeal })
      print(options.json === true, opened, () => `Appeal ${opened.id} is with the admins of the pool.`)
    })
  return withExamples(withSettings(command, ['client']), [
    [
      'lichen worker appeal --because "the pool’s file of that model was replaced" --evidence versions.txt',
      'once at a time',
    ],
  ])
}
