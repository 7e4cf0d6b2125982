import readline from 'node:readline'
import { Command } from 'commander'
import type { ConformanceOp } from '#protocol'
import { withExamples } from './options.ts'
import { print } from './output.ts'

export function conformanceCommand(): Command {
  const command = new Command()
    .summary('check the parts with your own vectors, as JSON lines')
    .option('--list', 'name the operations')
    .option('--json', 'machine-readable output (answers always are)')
    .action(async ({ list, json }: { list?: boolean; json?: boolean }) => {
      const operations = await loadOperations()
      const names = Object.keys(operations).sort()
      if (list) print(json === true, { object: 'list', data: names }, () => names.join('\n'))
      else for await (const line of readline.createInterface({ input: process.stdin })) answer(operations, line)
    })
    .addHelpText(
      'after',
      '\nReads {"id","op","input"} lines from stdin; answers {"id","ok":true,"output"} or {"id","ok":false,"error"}.\n' +
        'docs/reference/conformance.md shows an example of each operation.',
    )
  return withExamples(command, [
    ['lichen conformance --list', 'what can be asked'],
    ['lichen conformance < vectors.jsonl > answers.jsonl', 'ask'],
  ])
}

type Operations = Readonly<Record<string, ConformanceOp>>

function answer(operations: Operations, line: string): void {
  if (line.trim() !== '') process.stdout.write(`${JSON.stringify(answerTo(operations, line))}\n`)
}

function answerTo(operations: Operations, line: string): object {
  const question = parsed(line)
  if (!question) return { id: null, ok: false, error: invalid('The line is not a JSON object.') }
  const { id = null, op, input } = question
  const operation = Object.hasOwn(operations, String(op)) ? operations[String(op)] : undefined
  if (!operation)
    return { id, ok: false, error: { code: 'unknown_op', message: `There is no operation ${String(op)}.` } }
  return { id, ...operation(input) }
}

const invalid = (message: string) => ({ code: 'invalid_input', message })

function parsed(line: string): { id?: unknown; op?: unknown; input?: unknown } | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}

/** Every operation, by name. */
export async function loadOperations(): Promise<Operations> {
  const [{ logOps, protocolOps, signedOps }, { federationOps }, { transportOps }, { verificationOps }] =
    await Promise.all([import('#protocol'), import('#federation'), import('#transport'), import('#verification')])
  return { ...protocolOps, ...logOps, ...signedOps, ...transportOps, ...federationOps, ...verificationOps }
}
