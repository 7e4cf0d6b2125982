import { ownCommand } from '#config'
import { commands } from './cli/commands.ts'

const names = commands.map((one) => one.name).join('|')
const mention = new RegExp(String.raw`(?<![\w./-])lichen (?=(?:${names})\b|<command>|--)`, 'g')

/** A text with hints such as `lichen up`, as the person at this shell would type them: `./bin/lichen up` in a clone. */
export function asTyped(text: string): string {
  if (!text.includes('lichen ')) return text
  const command = ownCommand()
  return command === 'lichen' ? text : text.replace(mention, `${command} `)
}
