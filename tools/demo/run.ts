/**
 * A real pool, real llama.cpp workers of six operators, four of whom cheat. Load is applied; the pool looks at answers again, finds the
 * cheats, takes what they earned and pays their users back. Everything is a process of its own on loopback, in a temporary folder that
 * is gone afterwards. Exit code 0: every cheat was convicted, nobody else was, and the audit of the books is clean.
 *
 *   npm run demo [-- --json] [-- --minutes 10]
 */
import { Neighbourhood } from '../../src/testkit/neighbourhood.ts'
import { Follower, type PlayerNow } from './follow.ts'
import { joinPlayers, type Player } from './players.ts'
import { readOptions } from './read-options.ts'
import { screenOf, Terminal } from './screen.ts'

const help = `npm run demo [-- OPTIONS]

A real pool with workers that cheat, and what becomes of them. Takes a few minutes on two cores.

  --minutes N   give up after N minutes of load, 1 to 60 (10)
  --json        one JSON object at the end on stdout, progress on stderr
  --help        this text

Examples:
  npm run demo
  npm run -s demo -- --json --minutes 5
`
const requestsAtOnce = 4
const lookEveryMs = 1_000
const pauseAfterRefusalMs = 200
/** After the last conviction; on a busy machine the verifiers' last looks take their time. */
const settleMsMax = 120_000
const tellEverySeconds = 15
/** The n-th question. They come again only after a while, or a cache would often be right. */
const question = (n: number) => {
  const [a, b] = [n % 37, (n * 7) % 41]
  return (
    [`${a}+${b}=?`, `tell me ${a} things about lichen`, `echo ${(a * 41 + b).toString(26)}`, `what is ${b} less ${a}?`][
      n % 4
    ] ?? ''
  )
}

const { minutes: minutesMax, json } = readOptions(help, { minutes: { default: 10, min: 1, max: 60 } })

const stop = new AbortController()
// Each time: whoever presses Ctrl-C twice is not left with workers that run on.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop.abort())
const say = (text: string) => process.stderr.write(`${text}\n`)
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

await using town = new Neighbourhood()

interface Outcome {
  readonly players: readonly PlayerNow[]
  readonly answered: number
  readonly refused: number
  readonly seconds: number
}

async function play(): Promise<Outcome> {
  say('Starting a pool with a worker of its own …')
  await town.start('up')
  const players: Player[] = []
  for await (const player of joinPlayers(town)) {
    stop.signal.throwIfAborted()
    players.push(player)
    say(`${player.operator}'s worker joined; it ${player.does}.`)
  }
  const follower = new Follower(town, players)
  const terminal = process.stdout.isTTY && !json ? new Terminal() : undefined
  const started = Date.now()
  const seconds = () => Math.round((Date.now() - started) / 1_000)
  let [sent, answered, refused, told] = [0, 0, 0, 0]
  let over = false
  const ask = async () => {
    while (!over) {
      const content = question(sent++)
      try {
        await town.client().chat.completions.create({
          model: 'lichen-demo',
          messages: [{ role: 'user', content }],
          temperature: 0,
        })
        answered++
      } catch {
        refused++
        await sleep(pauseAfterRefusalMs)
      }
    }
  }
  const load = Array.from({ length: requestsAtOnce }, ask)
  try {
    for (;;) {
      const now = await follower.look()
      const lines = screenOf(now, { answered, refused, seconds: seconds() })
      terminal?.draw(lines)
      if (!terminal && seconds() - told >= tellEverySeconds) {
        told = seconds()
        say(lines.at(-1) ?? '')
      }
      const isOver = now.every(({ cheats, phase }) => !cheats || phase === 'convicted')
      if (isOver || seconds() >= minutesMax * 60 || stop.signal.aborted) {
        if (!terminal && !json) process.stdout.write(`${lines.join('\n')}\n`)
        return { players: now, answered, refused, seconds: seconds() }
      }
      await sleep(lookEveryMs)
    }
  } finally {
    over = true
    await Promise.all(load)
  }
}

/** Waits until what is taken has moved, so that the books show it, and reads them. */
async function settle({ players }: Outcome): Promise<readonly PlayerNow[]> {
  const follower = new Follower(town, players)
  for (const until = Date.now() + settleMsMax; ; await sleep(lookEveryMs)) {
    const now = await follower.look()
    if (Date.now() > until || stop.signal.aborted || now.every(hasPaid)) return now
  }
}

/** Nothing is to be taken of the others. */
const hasPaid = ({ phase, taken }: PlayerNow) => phase !== 'convicted' || taken > 0n

try {
  const outcome = await play()
  stop.signal.throwIfAborted()
  const players = await settle(outcome)
  stop.signal.throwIfAborted()
  const caught = players.filter(({ cheats, phase }) => cheats && phase === 'convicted')
  const wronged = players.filter(({ cheats, phase }) => !cheats && phase === 'convicted')
  const audit = await town.cli('audit')
  const cheats = players.filter((player) => player.cheats).length
  const good = caught.length === cheats && wronged.length === 0 && players.every(hasPaid) && audit.code === 0
  process.exitCode = good ? 0 : 1
  if (json) {
    const rows = players.map(({ held, taken, ...row }) => ({ ...row, held: `${held}`, taken: `${taken}` }))
    process.stdout.write(`${JSON.stringify({ ...outcome, good, audit: audit.code === 0, players: rows })}\n`)
  } else {
    process.stdout.write(`${(audit.out + audit.err).trim()}\n`)
    process.stdout.write(
      good
        ? 'Every cheat was convicted and lost what it had earned; no honest worker was.\n'
        : `Not as it should be: ${caught.length} of ${cheats} cheats and ${wronged.length} honest workers convicted, and ${players.filter((one) => !hasPaid(one)).length} of them kept what they had earned.\n`,
    )
  }
} catch (error) {
  say(stop.signal.aborted ? 'Stopped.' : `The demo could not go on: ${(error as Error).message}`)
  process.exitCode = stop.signal.aborted ? 130 : 1
}
