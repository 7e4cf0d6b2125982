import { stripVTControlCharacters } from 'node:util'
import { surroundings } from '#config'

/** Writes a result: one JSON document for a program, or text for a person. */
export function print(json: boolean, value: unknown, text: () => string): void {
  process.stdout.write(`${json ? JSON.stringify(value) : text()}\n`)
}

/** Columns as wide as their longest cell; the last one runs free. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head.map((cell) => dim(cell)), ...rows.map((row) => row.map(clean))]
  const widths = head.map((_, column) => Math.max(...lines.map((line) => width(line[column] ?? ''))))
  return lines
    .map((line) =>
      line
        .map((cell, column) => pad(cell, widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

const width = (cell: string) => stripVTControlCharacters(cell).length
const pad = (cell: string, wide: number) => cell + ' '.repeat(Math.max(0, wide - width(cell)))

/** What others wrote (names of workers, models) may not move our cursor, nor turn the order of what follows. */
export function clean(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, '?')
}

/** `1 worker waits`, `2 workers wait`. */
export function counted(count: number, one: string, several: string): string {
  return `${count} ${count === 1 ? one : several}`
}

/** `20 GiB`, `4.4 MiB`. */
export function size(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'] as const
  const step = Math.min(units.length - 1, bytes < 1 ? 0 : Math.floor(Math.log2(bytes) / 10))
  return `${Number((bytes / 2 ** (10 * step)).toFixed(1))} ${units[step]}`
}

/** `45 % of 4.4 GiB`. */
export function progress({ bytes, bytes_of: of }: { readonly bytes: number; readonly bytes_of: number }): string {
  return `${Math.floor((100 * bytes) / Math.max(1, of))} % of ${size(of)}`
}

const painted = (code: number) => (text: string) =>
  process.stdout.isTTY && !surroundings().noColor ? `\x1b[${code}m${text}\x1b[0m` : text
export const dim = painted(2)
export const green = painted(32)
export const red = painted(31)
export const yellow = painted(33)
