import type { Command, HelpContext } from 'commander'
import { asTyped } from '../as-typed.ts'
import { exitCodes } from './exit-codes.ts'
import { CommandProblem } from './problem.ts'

/**
 * What `--help` tells, for a program. A group that was called without one of its commands is a mistake, and is told like any other; a person
 * gets the help there.
 */
export function helpAsJson(command: Command, context?: HelpContext | ((text: string) => void)): void {
  const path = pathOf(command)
  const names = command.commands.map((one) => one.name())
  if (typeof context === 'object' && context.error === true) {
    const sentence = `\`${path}\` alone does nothing. It has the commands ${names.join(', ')}.`
    throw new CommandProblem('config_invalid', sentence, `Name one of them; see \`${path} --help\`.`, exitCodes.usage)
  }
  const help = {
    command: path,
    summary: command.description(),
    usage: `${path} ${command.usage()}`,
    arguments: command.registeredArguments.map((one) => ({
      name: one.name(),
      required: one.required,
      variadic: one.variadic,
      about: asTyped(one.description),
    })),
    options: command.options
      .filter((option) => !option.hidden)
      .map(({ flags, description }) => ({ flags, about: asTyped(description) })),
    commands: command.commands.map((one) => ({ name: one.name(), summary: one.description() })),
  }
  process.stdout.write(`${JSON.stringify(help)}\n`)
}

/** `lichen fed tokens`. */
const pathOf = (command: Command): string =>
  command.parent ? `${pathOf(command.parent)} ${command.name()}` : command.name()
