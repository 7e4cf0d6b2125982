import type { PlayerNow } from './follow.ts'

/** What the load has come to so far. */
export interface Load {
  readonly answered: number
  readonly refused: number
  readonly seconds: number
}

const credits = (micro: bigint) => (Number(micro) / 1e6).toFixed(4)

/** The whole demo as lines of one screen. */
export function screenOf(players: readonly PlayerNow[], { answered, refused, seconds }: Load): readonly string[] {
  const head = ['OPERATOR', 'ITS WORKER', 'CHECKED', 'HITS', 'STANDING', 'HELD', 'TAKEN']
  const rows = players.map(({ operator, does, checked, hits, phase, held, taken }) => [
    operator,
    does,
    String(checked),
    String(hits),
    phase,
    credits(held),
    credits(taken),
  ])
  const widths = head.map((title, n) => Math.max(title.length, ...rows.map((row) => row[n]?.length ?? 0)))
  const table = [head, ...rows].map((row) => row.map((cell, n) => cell.padEnd(widths[n] ?? 0)).join('  '))
  const cheats = players.filter((player) => player.cheats)
  const caught = cheats.filter(({ phase }) => phase === 'convicted').length
  const foot = `${answered} answers in ${seconds} s, ${refused} refused; cheats convicted: ${caught} of ${cheats.length}`
  return [...table.map((line) => line.trimEnd()), '', foot]
}

/** Draws over what it drew before on a terminal. */
export class Terminal {
  #drawn = 0

  draw(lines: readonly string[]): void {
    const up = this.#drawn > 0 ? `\u001b[${this.#drawn}A` : ''
    process.stdout.write(`${up}${lines.map((line) => `\u001b[2K${line}\n`).join('')}`)
    this.#drawn = lines.length
  }
}
