/** GBNF for digits from `low` to `high`, two decimal numbers of equally many digits. */
function sameLength(low: string, high: string): string {
  if (low === high) return low === '' ? '""' : `"${low}"`
  const [lowDigit = '', highDigit = ''] = [low[0], high[0]]
  const [lowRest, highRest] = [low.slice(1), high.slice(1)]
  if (lowDigit === highDigit) return `"${lowDigit}" (${sameLength(lowRest, highRest)})`
  const rest = lowRest.length
  if (rest === 0) return `[${lowDigit}-${highDigit}]`
  const any = `[0-9]{${rest}}`
  const options: string[] = []
  let [first, last] = [Number(lowDigit), Number(highDigit)]
  if (/[^0]/.test(lowRest)) options.push(`"${first++}" (${sameLength(lowRest, '9'.repeat(rest))})`)
  if (/[^9]/.test(highRest)) options.push(`"${last--}" (${sameLength('0'.repeat(rest), highRest)})`)
  if (first <= last) options.push(`[${first}-${last}] ${any}`)
  return options.join(' | ')
}

/** Digits of all integers from `low` ≥ 0 to `high`; without `high`, up to 16 digits. */
function natural(low: number, high: number | undefined): string[] {
  const most = high === undefined ? '9'.repeat(16) : String(high)
  const options: string[] = []
  for (let digits = String(low).length; digits <= most.length; digits++) {
    const from = digits === String(low).length ? String(low) : `1${'0'.repeat(digits - 1)}`
    const to = digits === most.length ? most : '9'.repeat(digits)
    options.push(`(${sameLength(from, to)})`)
  }
  return options
}

/** GBNF for the integers from `low` to `high`, inclusive; a missing bound is open (to 16 digits). `low` ≤ `high`. */
export function integerRange(low: number | undefined, high: number | undefined): string {
  const options: string[] = []
  if (low === undefined || low < 0) {
    const nearest = Math.max(1, high === undefined ? 1 : -high)
    options.push(...natural(nearest, low === undefined ? undefined : -low).map((digits) => `"-" ${digits}`))
  }
  if (high === undefined || high >= 0) options.push(...natural(Math.max(0, low ?? 0), high))
  return `(${options.join(' | ')})`
}
