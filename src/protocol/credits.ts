/** Micro-credits of one credit. */
const microPerCredit = 1_000_000n

/** Twelve digits before the point, six after: below 2^63 with room to add. */
const decimalPattern = /^(\d{1,12})(?:\.(\d{1,6}))?$/

/** `12.5` credits as micro-credits, exactly; undefined for what is no such number (a sign, an exponent, a seventh decimal). */
export function parseCredits(text: string): bigint | undefined {
  const [, whole, decimals = ''] = decimalPattern.exec(text) ?? []
  return whole === undefined ? undefined : BigInt(whole) * microPerCredit + BigInt(decimals.padEnd(6, '0'))
}

/** Micro-credits as decimal credits, without trailing zeros: `12.5`. Exact for every bigint. */
export function formatCredits(micro: bigint): string {
  const size = micro < 0n ? -micro : micro
  const decimals = String(size % microPerCredit)
    .padStart(6, '0')
    .replace(/0+$/, '')
  return `${micro < 0n ? '-' : ''}${size / microPerCredit}${decimals === '' ? '' : `.${decimals}`}`
}
