/**
 * Two real pools that meet, lend each other work, are cut apart, keep serving, and agree again after the cut without help. Everything is
 * a process of its own on loopback, in temporary folders that are gone afterwards. Exit code 0: every step held.
 *
 *   npm run demo:federation [-- --json] [-- --cut 60]
 */
import { copyFileSync, mkdirSync } from 'node:fs'
import path from 'node:path'
import { demoModelPath, eventually } from '../../../src/testkit/neighbourhood.ts'
import { readOptions } from '../read-options.ts'
import { Site } from './site.ts'

const help = `npm run demo:federation [-- OPTIONS]

Two pools meet, lend each other work, are cut apart, and agree again. Takes about four minutes on two cores.

  --cut N   how long they are cut apart, in seconds, 10 to 600 (60)
  --json    one JSON object at the end on stdout, progress on stderr
  --help    this text

Examples:
  npm run demo:federation
  npm run -s demo:federation -- --json --cut 20
`
const { n: cutSeconds, json } = readOptions(help, { name: 'cut', default: 60, min: 10, max: 600 })

const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort())
/** A statement ends two minutes ago: what is younger may not be settled on both sides. */
const statementMs = 125_000
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
const began = Date.now()
const seconds = () => Math.round((Date.now() - began) / 1_000)

/** One line of the screen. */
interface Step {
  readonly held: boolean
  readonly second: number
  readonly what: string
}
const steps: Step[] = []
const tell = (text: string) => (json ? process.stderr : process.stdout).write(`${text}\n`)

/** Tries until it gives what it found, or the time is over; either is a line. */
async function step(what: string, look: () => Promise<string | undefined | false>, ms = 30_000): Promise<void> {
  const again = async () => {
    stop.signal.throwIfAborted()
    return look()
  }
  let found: string
  let held = true
  try {
    found = await eventually(what, again, ms)
  } catch (error) {
    stop.signal.throwIfAborted()
    ;[held, found] = [false, error instanceof Error ? error.message : String(error)]
  }
  const line = { held, second: seconds(), what: `${what}: ${found}` }
  steps.push(line)
  tell(`${held ? '✓' : '✗'} ${String(line.second).padStart(3)} s  ${line.what}`)
}

const short = (id: string) => id.slice(0, 8)
const credits = (micro: string) => (Number(micro) / 1e6).toFixed(6)

const alder = new Site('alder', 'alder-words')
const birch = new Site('birch', 'birch-words')
const sites = [alder, birch]

async function startBoth(): Promise<void> {
  for (const site of sites) await site.makeRoad()
  const roads = sites.map(({ road }) => road)
  for (const site of sites) {
    stop.signal.throwIfAborted()
    const file = path.join(site.town.folder, 'models', `${site.model}.gguf`)
    mkdirSync(path.dirname(file))
    copyFileSync(demoModelPath, file)
    await step(`${site.name} starts, with a worker that offers ${site.model}`, async () => {
      await site.start(file, roads)
      return `pool ${short(site.id)}`
    })
  }
}

/** Both hold the same facts, of both. */
async function sameFacts(atLeast: number): Promise<string | undefined> {
  const [ours, theirs] = await Promise.all(sites.map((site) => site.facts()))
  const of = (facts: typeof ours) => (facts ?? []).map(({ hash }) => hash).sort()
  const authors = new Set((ours ?? []).map(({ author }) => author))
  const same = JSON.stringify(of(ours)) === JSON.stringify(of(theirs))
  return same && authors.size === 2 && of(ours).length >= atLeast ? `${of(ours).length} facts, the same` : undefined
}

/** Each has signed for a log of the other that is at least so long. */
async function vouched(least: readonly number[]): Promise<string | undefined> {
  const sizes = [await alder.vouchedBy(birch), await birch.vouchedBy(alder)]
  return sizes.every((size, n) => size > (least[n] ?? 0)) ? `${sizes.join(' and ')} leaves` : undefined
}

async function meetAndLend(): Promise<void> {
  await step('they shake hands', async () => {
    await alder.town.cli('fed', 'add', birch.road.url)
    return (await birch.knows(alder)) && (await alder.knows(birch)) && 'trust 1 on both sides'
  })
  await step('both humans say: jobs, and a bond', async () => {
    await alder.trust(birch)
    await birch.trust(alder)
    const seen = await Promise.all([alder.knows(birch), birch.knows(alder)])
    return seen.every((peer) => peer?.trust === 3 && peer.their_level === 3) && 'trust 3, signed by an admin of each'
  })
  await step(
    "a user of alder asks for birch's model",
    async () => {
      // until alder has heard what birch lends
      const answer = await alder.ask(birch.model, 'capital of Japan?').catch(() => undefined)
      if (!answer) return false
      const { text, pieces, receipt } = answer
      const { out } = await alder.town.cli('verify', receipt, '--pool', alder.id)
      const way = out.split('\n').find((line) => line.startsWith('asked at pool'))
      return text === 'Tokyo' && way !== undefined && `“${text}” in ${pieces} pieces; ${way}`
    },
    60_000,
  )
  await step('what each says to all is known to both', () => sameFacts(2), 90_000)
  await step("each signs for the other's log", () => vouched([0, 0]), 90_000)
}

async function cutApart(): Promise<readonly number[]> {
  const before = [await alder.vouchedBy(birch), await birch.vouchedBy(alder)]
  for (const site of sites) Object.assign(site.served, { answered: 0, failed: 0 })
  for (const { road } of sites) road.cut()
  tell(`      the road between them is cut for ${cutSeconds} s`)
  const mendAt = Date.now() + cutSeconds * 1_000
  await step("a user of alder asks for birch's model", async () => {
    const asked = Date.now()
    const error = await alder.ask(birch.model, '1+2=?').then(
      () => undefined,
      (error: { status?: number; message: string }) => error,
    )
    return error?.status !== undefined && `refused after ${Date.now() - asked} ms: ${error.message}`
  })
  await step('both change a price meanwhile', async () => {
    for (const [n, site] of sites.entries()) {
      const price = ['--completion-token', `0.0000${n + 3}`]
      const { code, err } = await site.town.cli('prices', 'set', site.model, ...price)
      if (code !== 0) throw new Error(err)
    }
    return 'each side wrote what the other cannot see'
  })
  while (Date.now() < mendAt) {
    stop.signal.throwIfAborted()
    await sleep(100)
  }
  await step('each serves its own users all the while', async () => {
    const counts = sites.map(({ name, served }) => `${name} ${served.answered} answers, ${served.failed} failed`)
    if (sites.some(({ served }) => served.failed > 0 || served.answered === 0)) throw new Error(counts.join('; '))
    return counts.join('; ')
  })
  for (const { road } of sites) road.mend()
  tell('      the road is mended, and nobody does anything')
  return before
}

async function agreeAgain(before: readonly number[]): Promise<void> {
  const newPrices = async () => {
    const facts = await alder.facts()
    return sites.every(({ id, model }, n) =>
      facts.some(
        ({ author, name, value }) =>
          author === id && name.includes(model) && JSON.parse(value).completion === `${(n + 3) * 10}`,
      ),
    )
  }
  const after = async () => ((await newPrices()) ? sameFacts(2) : undefined)
  await step('both hold the same facts again, the new prices among them', after, 120_000)
  await step("each signs for what the other's log has grown by", () => vouched(before), 120_000)
  const across = async () => {
    const answer = await birch.ask(alder.model, 'echo bdfh').catch(() => undefined)
    return answer?.text === 'bdfh' && `birch's user asked alder: “${answer.text}”`
  }
  await step('work goes across again', across, 90_000)
}

async function readTheBooks(lentAt: number): Promise<void> {
  while (Date.now() < lentAt + statementMs) {
    stop.signal.throwIfAborted()
    await sleep(100)
  }
  await step('both have signed the same account of what was lent', async () => {
    const { jobs, owed_to_us, owed_to_them, differences } = await alder.statement(birch)
    if (jobs === 0 || differences.length > 0) throw new Error(`${jobs} jobs, ${differences.length} differences`)
    return `${jobs} jobs, ${credits(owed_to_us)} and ${credits(owed_to_them)} credits, no difference`
  })
  for (const [one, other] of [
    [alder, birch],
    [birch, alder],
  ] as const) {
    await step(`the history of ${one.name} is what ${other.name} has seen of it`, async () => {
      const whole = await one.town.cli('audit')
      const seen = await one.town.cli('audit', '--against', other.id)
      if (whole.code !== 0 || seen.code !== 0) throw new Error(whole.err + seen.err)
      return 'audit and audit --against are clean'
    })
  }
}

const over = new AbortController()
let load: Promise<unknown> = Promise.resolve()
try {
  await startBoth()
  await meetAndLend()
  const lentAt = Date.now()
  load = Promise.all(sites.map((site) => site.serve(over.signal)))
  await agreeAgain(await cutApart())
  over.abort()
  await load
  await readTheBooks(lentAt)
} catch (error) {
  if (!stop.signal.aborted) throw error
  process.stderr.write('Stopped.\n')
} finally {
  over.abort()
  await load
  for (const site of sites) await site[Symbol.asyncDispose]()
}
const good = !stop.signal.aborted && steps.every(({ held }) => held)
if (stop.signal.aborted) process.exitCode = 130
else process.exitCode = good ? 0 : 1
if (json) process.stdout.write(`${JSON.stringify({ good, seconds: seconds(), cut_seconds: cutSeconds, steps })}\n`)
else if (!stop.signal.aborted) {
  const fallen = steps.filter(({ held }) => !held).length
  tell(
    good
      ? 'Cut apart and together again: nothing lost, nobody had to help.'
      : `${fallen} of ${steps.length} steps failed.`,
  )
}
