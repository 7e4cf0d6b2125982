/** 32 bytes as base64url that begin with a dash: one public key in 64, and a flag to whoever parses the line. */
const dashedKey = /^-[A-Za-z0-9_-]{42}$/

const takesValue = (word: string) => /^--[a-z][a-z-]*$/.test(word) && word !== '--json'

/**
 * The command line with public keys that look like flags behind `--`, where nothing is a flag. Keys are the last argument of the commands
 * that take one; the value of a flag (`--pool KEY`) stays where it is.
 */
export function guardKeys(argv: readonly string[]): string[] {
  const end = argv.indexOf('--')
  const until = end < 0 ? argv.length : end
  const isKey = (word: string, at: number) => {
    return at < until && dashedKey.test(word) && !takesValue(argv[at - 1] ?? '')
  }
  const keys = argv.filter(isKey)
  if (keys.length === 0) return [...argv]
  const rest = argv.filter((word, at) => !isKey(word, at))
  return end < 0 ? [...rest, '--', ...keys] : [...rest, ...keys]
}
