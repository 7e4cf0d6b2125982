import os from 'node:os'
import path from 'node:path'
import { Command } from 'commander'
import type { Settings } from '#config'
import { settingsOf, withExamples, withSettings } from './options.ts'
import { CommandProblem } from './problem.ts'
import { appealCommand } from './worker-appeal.ts'

export function workerCommand(): Command {
  return withExamples(new Command().addCommand(joinCommand()).addCommand(appealCommand()), [
    ['lichen worker join lichen1_…', 'lend this machine to the pool that invited it'],
  ])
}

interface JoinOptions {
  readonly json?: boolean
  readonly newKey?: boolean
  readonly successor?: string
}

/** The id comes from the person here, the proof from the pool. */
async function follow(dataDir: string, successor: string): Promise<void> {
  const [{ followPool }, { parsePoolId }, { systemRuntime }, { successionsAt }] = await Promise.all([
    import('#agent'),
    import('#protocol'),
    import('#runtime'),
    import('../successions-at.ts'),
  ])
  const id = parsePoolId(successor)
  if (!id) {
    const fix = 'Its admin tells it to you in person, as `lichen rotate pool` printed it.'
    throw new CommandProblem('config_invalid', 'The successor is named by its whole id, 64 digits.', fix, 2)
  }
  await followPool(dataDir, id, successionsAt, systemRuntime)
}

async function retireKeys(dataDir: string): Promise<void> {
  const [{ retireWorkerKeys }, { systemRuntime }] = await Promise.all([import('#agent'), import('#runtime')])
  await retireWorkerKeys(dataDir, systemRuntime)
}

function joinCommand(): Command {
  const command = new Command('join')
    .description('connect to a pool and serve until stopped; dials out only, no open port, no root')
    .argument('[invite]', 'the invite of the pool’s operator; not needed again once it was accepted')
    .option('--successor <id>', 'the pool has another key now: its whole id, as its operator told you')
    .option('--new-key', 'come back as a newcomer: put the old key aside and make another; needs an invite')
    .action(async (invite: string | undefined, options: JoinOptions, self: Command) => {
      if (options.newKey === true && invite === undefined) throw noInvite
      const { serveAsWorker } = await import('../serve-as-worker.ts')
      const settings = await settingsOf(self)
      const dataDir = path.join(settings.data, 'worker')
      await serveAsWorker({
        invite: invite === '-' ? await inviteFromStdin() : invite,
        dataDir,
        settings: await withLocalUpstream(settings),
        name: settings.name ?? os.hostname(),
        json: options.json === true,
        prepare: async () => {
          if (options.successor !== undefined) await follow(dataDir, options.successor)
          if (options.newKey === true) await retireKeys(dataDir)
        },
      })
    })
  withSettings(command, ['worker'])
  return withExamples(command, [
    ['lichen worker join lichen1_…', 'join with the demo model'],
    ['lichen worker join lichen1_… --model ~/models/qwen.gguf --slots 2', 'lend a model file'],
    ['lichen worker join lichen1_… --upstream auto', 'lend the Ollama or llama-server that runs here'],
    ['lichen worker join lichen1_… --new-key', 'after the pool has revoked every key (workers rotate)'],
    ['lichen worker join --successor 77b0e2…', 'the operator has rotated the pool’s key, and told you its id'],
    ['lichen worker join', 'serve again after a restart'],
    ['lichen worker join - < invite.txt', 'the invite from a file: it is not seen in the process list'],
  ])
}

const noInvite = new CommandProblem(
  'invite_invalid',
  'A new key is known to no pool.',
  'Give the invite that came with the rotation: lichen worker join INVITE --new-key.',
)

async function inviteFromStdin(): Promise<string> {
  let text = ''
  for await (const chunk of process.stdin) text += chunk
  if (text.trim() === '') throw new CommandProblem('invite_invalid', 'There was no invite on stdin.', 'Pipe it in.')
  return text.trim()
}

/** Nobody's Ollama is lent without a yes: it is looked for only where somebody can be asked. */
async function withLocalUpstream(settings: Settings): Promise<Settings> {
  const askable = process.stdin.isTTY === true && process.stderr.isTTY === true
  if (!askable || settings.model.length > 0 || settings.upstream.length > 0) return settings
  const [{ findLocalUpstreams }, { systemRuntime }] = await Promise.all([import('#engines'), import('#runtime')])
  const [found] = await findLocalUpstreams(systemRuntime)
  if (!found) return settings
  const { confirm } = await import('@clack/prompts')
  const message = `${found.name} runs here. Lend its models (${found.models.slice(0, 5).join(', ')}) to the pool?`
  const yes = await confirm({ message, initialValue: false, output: process.stderr })
  return yes === true ? { ...settings, upstream: [found.baseUrl] } : settings
}
