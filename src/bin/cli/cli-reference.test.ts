import path from 'node:path'
import type { Command } from 'commander'
import { expect, test } from 'vitest'
import { packageRoot } from '#config'
import { commands } from './commands.ts'
import { exitCodes } from './exit-codes.ts'
import { loadCommand } from './run-cli.ts'

const meanings: Readonly<Record<keyof typeof exitCodes, string>> = {
  ok: 'It did what was asked. A program that served and was told to stop ends so too.',
  failed: 'It was refused, or it failed. The sentence on stderr says why, and what to do.',
  usage:
    'It was called wrongly: unknown command, flag or setting, or settings that are malformed, unsafe or contradict each other.',
  unreachable: 'The pool did not answer at its address; or the peer that was asked did not.',
  unread: 'Whoever read its output has gone, as `head` does; a shell says so of SIGTERM, too.',
}

/** What `--help` prints, and that of its own commands after it. */
function helpOf(command: Command, above: string): string[] {
  let text = ''
  command.configureOutput({
    writeOut: (part) => {
      text += part
    },
    getOutHelpWidth: () => 120,
    getOutHasColors: () => false,
  })
  command.outputHelp()
  const name = `${above} ${command.name()}`
  const usage = text
    .replace(/^Usage: (lichen )?/, 'Usage: ')
    .replace(/^Usage: .*$/m, `Usage: ${name} ${command.usage()}`)
  const section = `${'#'.repeat(name.split(' ').length)} ${name}\n\n\`\`\`text\n${usage.trimEnd()}\n\`\`\`\n`
  return [section, ...command.commands.flatMap((one) => helpOf(one, name))]
}

const head = `# Commands

Written from \`--help\`; a test fails when the two differ.

All commands but \`up\`, \`pool\`, \`worker\`, \`verify\` of a file, \`audit\`, \`backup\`, \`restore\`, \`completion\` and \`conformance\` speak HTTP to
a pool: the one that runs on the data folder, or the one at \`--url\`. \`audit\`, \`backup\` and \`restore\` open its database
themselves, so they run as the pool's own user on the pool's own machine. Administration needs the owner’s key, \`owner.key\` in the data folder, or in
\`LICHEN_ADMIN_KEY\` that key or an API key with a role (docs/operating/users-and-roles.md).
Results go to stdout, everything else to stderr. With \`--json\` stdout holds JSON only, and a refusal is one JSON line on
stderr: \`{"error":{"code","message","fix"}}\`. Every command takes it, groups of commands and \`--help\` too. \`NO_COLOR\` is honoured.

| exit code | meaning |
|---|---|
${Object.entries(exitCodes)
  .map(([name, code]) => `| ${code} | ${meanings[name as keyof typeof exitCodes]} |`)
  .join('\n')}

`

const loaded = await Promise.all(commands.map(loadCommand))
const sections = loaded.flatMap((command) => helpOf(command, 'lichen'))

test('docs/reference/cli.md shows every command as it is', async () => {
  await expect(`${head}${sections.join('\n')}`).toMatchFileSnapshot(path.join(packageRoot, 'docs/reference/cli.md'))
})

test('every command has examples, and --json', () => {
  for (const section of sections) {
    expect(section).toContain('Examples:')
    expect(section).toContain('--json')
  }
})
