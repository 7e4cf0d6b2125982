/**
 * Well-formed UTF-8 as a machine (Unicode 16, table 3-7). States: 0 between characters; 1, 2, 3 = so many continuation
 * bytes to come; 4 … 7 = after E0, ED, F0, F4, whose next byte has a narrower range.
 */
export type Utf8State = number

/** The state after `bytes`, or -1 when they are not well-formed. */
export function utf8After(start: Utf8State, bytes: Buffer): Utf8State {
  let state = start
  for (const byte of bytes) {
    state = next(state, byte)
    if (state < 0) return -1
  }
  return state
}

/** Per state: lowest and highest next byte, and the state afterwards. */
const continuation: readonly (readonly [number, number, Utf8State])[] = [
  [0x00, 0x7f, 0],
  [0x80, 0xbf, 0],
  [0x80, 0xbf, 1],
  [0x80, 0xbf, 2],
  [0xa0, 0xbf, 1],
  [0x80, 0x9f, 1],
  [0x90, 0xbf, 2],
  [0x80, 0x8f, 2],
]
const narrow: ReadonlyMap<number, Utf8State> = new Map([
  [0xe0, 4],
  [0xed, 5],
  [0xf0, 6],
  [0xf4, 7],
])

function next(state: Utf8State, byte: number): Utf8State {
  const [low, high, then] = continuation[state] ?? [1, 0, -1]
  if (byte >= low && byte <= high) return then
  if (state !== 0) return -1
  if (byte >= 0xc2 && byte <= 0xdf) return 1
  const special = narrow.get(byte)
  if (special !== undefined) return special
  if (byte >= 0xe1 && byte <= 0xef) return 2
  return byte >= 0xf1 && byte <= 0xf3 ? 3 : -1
}
