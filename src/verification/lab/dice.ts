/** Uniform numbers in [0, 1): the same for the same seed. */
export type Dice = () => number

/**
 * Dice of a seed: sfc32 (C. Doty-Humphrey, PractRand), a small generator that passes its test suite. For simulation only;
 * nothing secret comes from it.
 */
export function diceOf(seed: number): Dice {
  let [a, b, c, counter] = [seed | 0, (seed / 2 ** 32) | 0, 0x9e3779b9 | 0, 1]
  const roll = () => {
    const sum = (((a + b) | 0) + counter) | 0
    counter = (counter + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = (((c << 21) | (c >>> 11)) + sum) | 0
    return (sum >>> 0) / 2 ** 32
  }
  for (let warm = 0; warm < 16; warm++) roll()
  return roll
}
