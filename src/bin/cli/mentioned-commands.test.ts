import { globSync, readFileSync } from 'node:fs'
import path from 'node:path'
import type { Command } from 'commander'
import { expect, test } from 'vitest'
import { packageRoot } from '#config'
import { commands } from './commands.ts'
import { loadCommand } from './run-cli.ts'

const loaded = new Map((await Promise.all(commands.map(loadCommand))).map((one) => [one.name(), one]))
const files = globSync(['src/**/*.ts', 'docs/**/*.md', 'spec/*.md', '*.md'], {
  cwd: packageRoot,
  exclude: ['src/**/*.test.ts'],
})

/** Ways in which a text tells somebody to type a command; each gives what comes after `lichen`. */
const ways = [
  /`(?:\.\/bin\/)?lichen ([^`\n]+?)\\?`/g,
  /'lichen ([^'\n]+)'/g,
  /^(?:\w*\$ )?(?:\.\/bin\/)?lichen ([^\n]+)/gm,
  /(?<![`'\w])lichen ((?:[a-z][a-z0-9-]* )+[A-Z][A-Z_]+)\b/g,
]

/** What is wrong with a command as it is written; undefined: a reader who types it is understood. Groups may stand for themselves: `lichen fed`. */
function whyNot(typed: string): string | undefined {
  const words = (typed.split(/ (?:\||<|>|&&|#|\.\.\.) ?/)[0] ?? '').match(/"[^"]*"|\$\{[^}]*\}\S*|\S+/g) ?? []
  let command = loaded.get(words[0] ?? '')
  if (!command) return undefined
  let [given, rest] = [0, words.slice(1)]
  while (command.commands.length > 0 && /^[a-z]/.test(rest[0] ?? '')) {
    const [name = '', ...more] = rest
    // `fed inbox|outbox`: all of them
    if (name.includes('|'))
      return name
        .split('|')
        .map((one) => whyNotIn(command as Command, one))
        .find((one) => one)
    const next: Command | undefined = command.commands.find((one) => one.name() === name)
    if (!next) return `${command.name()} has no command ${name}`
    ;[command, rest] = [next, more]
  }
  if (command.commands.length > 0 && rest[0]?.startsWith('${')) return undefined
  for (let n = 0; n < rest.length; n++) {
    const word = rest[n] ?? ''
    if (/^-+\w/.test(word)) {
      const [flag = ''] = word.replace(/[.,;:)]+$/, '').split(/[=|]/)
      const option = command.options.find(({ long, short }) => long === flag || short === flag)
      if (!option && flag !== '--help') return `${command.name()} has no ${flag}`
      if (option?.required && !word.includes('=')) n++
    } else given++
  }
  const most = command.registeredArguments.some(({ variadic }) => variadic)
    ? Number.POSITIVE_INFINITY
    : command.registeredArguments.length
  return given > most && command.commands.length === 0
    ? `${command.name()} takes ${most} arguments, not ${given}`
    : undefined
}

const whyNotIn = (group: Command, name: string) =>
  group.commands.some((one) => one.name() === name) ? undefined : `${group.name()} has no command ${name}`

test('every command that a refusal, a page or an example names is one, with the flags it has', () => {
  const wrong: string[] = []
  let seen = 0
  for (const file of files) {
    const text = readFileSync(path.join(packageRoot, file), 'utf8')
    for (const way of ways)
      for (const [, typed = ''] of text.matchAll(way)) {
        seen++
        const why = whyNot(typed)
        if (why) wrong.push(`${file}: lichen ${typed}: ${why}`)
      }
  }
  expect(seen).toBeGreaterThan(500)
  expect(wrong).toEqual([])
})
