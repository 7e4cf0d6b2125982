import { Argument, Command } from 'commander'
import { commands } from './commands.ts'
import { withExamples } from './options.ts'

const shells = ['bash', 'zsh', 'fish'] as const
type Shell = (typeof shells)[number]

/** A word that may come next, and what it means. */
interface Word {
  readonly name: string
  readonly does: string
}
/** What may follow a command: its own commands and its flags. */
interface Node {
  readonly path: readonly string[]
  readonly commands: readonly Word[]
  readonly flags: readonly Word[]
}

export function completionCommand(): Command {
  const command = new Command()
    .addArgument(new Argument('<shell>', 'the shell to complete in').choices(shells))
    .option('--json', 'machine-readable output')
    .action(async (shell: Shell, { json }: { json?: boolean }) => {
      const script = scripts[shell](await wordTree())
      process.stdout.write(json === true ? `${JSON.stringify({ shell, script })}\n` : script)
    })
  return withExamples(command, [
    ['lichen completion bash > ~/.local/share/bash-completion/completions/lichen', 'bash, for you'],
    ['lichen completion zsh > ~/.zfunc/_lichen', 'zsh, where ~/.zfunc is in $fpath'],
    ['lichen completion fish > ~/.config/fish/completions/lichen.fish', 'fish'],
  ])
}

/** Every command and its flags, as they are now. */
async function wordTree(): Promise<Node[]> {
  const { loadCommand } = await import('./run-cli.ts')
  const loaded = await Promise.all(commands.map(loadCommand))
  const root = { path: [], commands: loaded.map(wordOf), flags: [{ name: '--help', does: 'show help' }] }
  return [root, ...loaded.flatMap((command) => nodesOf(command, []))]
}

function nodesOf(command: Command, above: readonly string[]): Node[] {
  const path = [...above, command.name()]
  const flags = command.options.map(({ long, description }) => ({ name: long ?? '', does: description }))
  const own = { path, commands: command.commands.map(wordOf), flags: [...flags, { name: '--help', does: 'show help' }] }
  return [own, ...command.commands.flatMap((one) => nodesOf(one, path))]
}

const wordOf = (command: Command): Word => ({ name: command.name(), does: command.description() })
const names = (words: readonly Word[]) => words.map((word) => word.name).join(' ')
const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`

/** Longest path first, so that `workers approve` is tried before `workers`. */
const deepestFirst = (nodes: readonly Node[]) => [...nodes].sort((a, b) => b.path.length - a.path.length)

const scripts: Readonly<Record<Shell, (nodes: readonly Node[]) => string>> = {
  bash: (nodes) => `_lichen() {
  local current=\${COMP_WORDS[COMP_CWORD]} line=" \${COMP_WORDS[*]:1:COMP_CWORD-1} " words
  case $line in
${deepestFirst(nodes)
  .map(({ path, commands, flags }) => `    ${caseOf(path)}) words='${names([...commands, ...flags])}' ;;`)
  .join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  [ \${#COMPREPLY[@]} -eq 0 ] && compopt -o default
}
complete -F _lichen lichen
`,
  zsh: (nodes) => `#compdef lichen
_lichen() {
  local line=" \${words[2,CURRENT-1]} "
  local -a found
  case $line in
${deepestFirst(nodes)
  .map(
    ({ path, commands, flags }) => `    ${caseOf(path)}) found=(${[...commands, ...flags].map(zshWord).join(' ')}) ;;`,
  )
  .join('\n')}
  esac
  _describe lichen found || _files
}
_lichen "$@"
`,
  fish: (nodes) =>
    nodes
      .flatMap(({ path, commands, flags }) => [
        ...commands.map(
          (word) => `complete -c lichen -f -n ${fishWhen(path, commands)} -a ${word.name} -d ${quoted(word.does)}`,
        ),
        ...flags.map(
          ({ name, does }) => `complete -c lichen -n ${fishWhen(path)} -l ${name.slice(2)} -d ${quoted(does)}`,
        ),
      ])
      .map((line) => `${line}\n`)
      .join(''),
}

const caseOf = (path: readonly string[]) => (path.length === 0 ? '*' : `" ${path.join(' ')} "*`)
const zshWord = ({ name, does }: Word) => quoted(`${name}:${does.replaceAll(':', '\\:')}`)

/** True while every word of the path was typed, and (for commands) none of the next ones. */
function fishWhen(path: readonly string[], next: readonly Word[] = []): string {
  const seen = path.map((word) => `__fish_seen_subcommand_from ${word}`)
  const unseen = next.length > 0 ? [`not __fish_seen_subcommand_from ${names(next)}`] : []
  return quoted([...seen, ...unseen].join('; and ') || 'true')
}
