/** Writes docs/reference/limits.md from the `limits.ts` of every room: `npm run reference`. A test compares. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'

const root = path.resolve(import.meta.dirname, '..')
export const limitsPagePath = path.join(root, 'docs/reference/limits.md')

/** The sentence above a limit; a limit without one shares that of the limit before it. */
function reasonsOf(source: string): Map<string, string> {
  const reasons = new Map<string, string>()
  let reason = ''
  for (const match of source.matchAll(/\/\*\*([\s\S]*?)\*\/|^ {2}(\w+):/gm)) {
    if (match[1] !== undefined) {
      reason = match[1]
        .replace(/\s*\n\s*\* ?/g, ' ')
        .replace(/\{@link (?:\w+\.)?(\w+)\}/g, '`$1`')
        .trim()
    } else if (match[2] !== undefined) reasons.set(match[2], reason)
  }
  return reasons
}

const row = (key: string, value: unknown, reason: string) =>
  `| \`${key}\` | ${typeof value === 'number' ? value.toLocaleString('en-US') : String(value)} | ${reason.replaceAll('|', '\\|')} |`

/** The whole page, from the code as it is. */
export async function limitsPage(): Promise<string> {
  const sections: string[] = []
  for (const room of readdirSync(path.join(root, 'src')).sort()) {
    const file = path.join(root, 'src', room, 'limits.ts')
    if (!existsSync(file)) continue
    const reasons = reasonsOf(readFileSync(file, 'utf8'))
    const exported: Record<string, Record<string, unknown>> = await import(file)
    const rows = Object.keys(exported)
      .sort()
      .map((name) => exported[name] ?? {})
      .filter((group) => typeof group === 'object')
      .flatMap((group) => Object.entries(group).map(([key, value]) => row(key, value, reasons.get(key) ?? '')))
    sections.push(`## ${room}\n\n| limit | value | why |\n|---|---|---|\n${rows.join('\n')}\n`)
  }
  const head =
    '# Limits\n\nEverything has an end: queues, bodies, waits, lists. One table for each room of the source; the numbers are in its `limits.ts`.\n' +
    'Written by `npm run reference` and compared by a test.\n'
  return [head, ...sections].join('\n')
}

if (import.meta.main) writeFileSync(limitsPagePath, await limitsPage())
