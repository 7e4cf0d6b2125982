import { type ParseArgsConfig, parseArgs } from 'node:util'

/** A number that a demo asks for, a whole one between its bounds. */
export interface NumberOption {
  readonly default: number
  readonly min: number
  readonly max: number
}

/**
 * The numbers by name, and whether one JSON object is wanted at the end. `--help` prints `help` and ends the program with 0; what it does not know, or
 * a number out of bounds, ends it with 2 before anything is started.
 */
export function readOptions<const Name extends string>(
  help: string,
  asked: Readonly<Record<Name, NumberOption>>,
): Record<Name, number> & { json: boolean } {
  const names = Object.keys(asked) as Name[]
  const numbers = names.map((name) => [name, { type: 'string', default: String(asked[name].default) }] as const)
  const values = parse({ ...Object.fromEntries(numbers), ...always })
  if (values.help) {
    process.stdout.write(help)
    process.exit(0)
  }
  const read = names.map((name) => [name, numberOf(name, String(values[name]))] as const)
  return { ...(Object.fromEntries(read) as Record<Name, number>), json: values.json === true }

  function numberOf(name: Name, said: string): number {
    const { min, max } = asked[name]
    const n = /^\d{1,3}$/.test(said) ? Number(said) : Number.NaN
    if (!(n >= min && n <= max)) fail(`--${name} ${said}: a whole number from ${min} to ${max}.`)
    return n
  }

  function parse(options: NonNullable<ParseArgsConfig['options']>) {
    try {
      return parseArgs({ options }).values
    } catch (error) {
      return fail((error as Error).message)
    }
  }

  function fail(text: string): never {
    process.stderr.write(`${text}\n\n${help}`)
    process.exit(2)
  }
}

const always = { json: { type: 'boolean' }, help: { type: 'boolean' } } as const
