import { Command } from 'commander'
import { adminKeysCommand } from './fed-admin-keys.ts'
import { factCommands } from './fed-facts.ts'
import { peerCommands } from './fed-peers.ts'
import { requestCommands } from './fed-requests.ts'
import { switchCommands } from './fed-switch.ts'
import { tokensCommand } from './fed-tokens.ts'
import { withExamples } from './options.ts'

export function fedCommand(): Command {
  const group = new Command()
  for (const command of [
    ...peerCommands(),
    ...requestCommands(),
    adminKeysCommand(),
    tokensCommand(),
    ...factCommands(),
    ...switchCommands(),
  ])
    group.addCommand(command)
  return withExamples(group, [
    ['lichen fed info', 'who this pool is to others, and the line to hand over in person'],
    ['lichen fed add https://pool.example', 'meet another pool'],
    ['lichen fed promote 3fa9c1 2', 'let it and this pool lend work to each other'],
    ['lichen fed inbox', 'what other pools ask of you'],
    ['lichen fed notices', 'what to look at because of other pools'],
    ['lichen fed kill', 'stop all federation at once'],
  ])
}
