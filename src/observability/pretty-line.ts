const colors: Readonly<Record<string, number>> = { trace: 90, debug: 90, info: 36, warn: 33, error: 31, fatal: 35 }

/** `11:04:26 info  pool   worker connected  slots=4` from one JSON line of the log. */
export function prettyLine(line: string, color: boolean): string {
  const { level, time, program, msg, err, ...rest } = JSON.parse(line)
  const paint = (code: number, text: string) => (color ? `\x1b[${code}m${text}\x1b[0m` : text)
  const details = Object.entries(rest).map(([key, value]) => `${paint(90, `${key}=`)}${plain(value)}`)
  const head = [paint(90, String(time).slice(11, 19)), paint(colors[level] ?? 0, String(level).padEnd(5))]
  const stack = err?.stack ? `\n${err.stack}` : ''
  return `${[...head, paint(90, String(program).padEnd(6)), msg, ...details].join(' ')}${stack}\n`
}

/** Ids are cut to what a person compares; commands take that much. What others wrote may not drive the terminal. */
function plain(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
  const shown = text.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, '?')
  return shown.replace(/\b([0-9a-f]{12})[0-9a-f]{52}\b/g, '$1')
}
