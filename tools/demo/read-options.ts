import { type ParseArgsConfig, parseArgs } from 'node:util'

/** The one number a demo asks for, a whole one between its bounds. */
export interface NumberOption {
  readonly name: string
  readonly default: number
  readonly min: number
  readonly max: number
}

/**
 * The number, and whether one JSON object is wanted at the end. `--help` prints `help` and ends the program with 0; what it does not know, or a number
 * out of bounds, ends it with 2 before anything is started.
 */
export function readOptions(help: string, { name, min, max, ...more }: NumberOption): { n: number; json: boolean } {
  const values = parse({ [name]: { type: 'string', default: String(more.default) }, ...always })
  if (values.help) {
    process.stdout.write(help)
    process.exit(0)
  }
  const said = String(values[name])
  const n = /^\d{1,3}$/.test(said) ? Number(said) : Number.NaN
  if (!(n >= min && n <= max)) fail(`--${name} ${said}: a whole number from ${min} to ${max}.`)
  return { n, json: values.json === true }

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
