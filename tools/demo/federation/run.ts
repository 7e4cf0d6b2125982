/**
 * Two real pools, or three, that meet, lend each other work, are cut apart, keep serving, and agree again after the cut without help. Everything
 * is a process of its own on loopback, in temporary folders that are gone afterwards. Exit code 0: every step held.
 *
 *   npm run demo:federation [-- --json] [-- --pools 3] [-- --cut 60]
 */
import { copyFileSync, mkdirSync } from 'node:fs'
import path from 'node:path'
import { demoModelPath, eventually } from '../../../src/testkit/neighbourhood.ts'
import { readOptions } from '../read-options.ts'
import { Site } from './site.ts'

const help = `npm run demo:federation [-- OPTIONS]

Two pools meet, lend each other work, are cut apart, and agree again. Takes about four minutes on two cores.

  --pools N  2, or 3 that are cut apart each from both others (2)
  --cut N    how long they are cut apart, in seconds, 10 to 600 (60)
  --json     one JSON object at the end on stdout, progress on stderr
  --help     this text

Examples:
  npm run demo:federation
  npm run demo:federation -- --pools 3
  npm run -s demo:federation -- --json --cut 20
`
const bounds = { pools: { default: 2, min: 2, max: 3 }, cut: { default: 60, min: 10, max: 600 } }
const { pools, cut: cutSeconds, json } = readOptions(help, bounds)

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

const [alder, birch, cedar] = (['alder', 'birch', 'cedar'] as const).map((name) => new Site(name, `${name}-words`)) as [
  Site,
  Site,
  Site,
]
const sites = [alder, birch, cedar].slice(0, pools)
const everybody = pools === 2 ? 'both' : 'all three'
/** Each pool with each other one: one after the other, and both ways. */
const meetings = sites.flatMap((one, n) => sites.slice(n + 1).map((other) => [one, other] as const))
const ways = meetings.flatMap(([one, other]) => [[one, other] as const, [other, one] as const])
/** Whom a pool's user asks for its model. */
const nextTo = (site: Site) => sites[(sites.indexOf(site) + 1) % sites.length] ?? site

async function startAll(): Promise<void> {
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

/** All hold the same facts, of all. */
async function sameFacts(): Promise<string | undefined> {
  const held = await Promise.all(sites.map((site) => site.facts()))
  const hashes = held.map((facts) => facts.map(({ hash }) => hash).sort())
  const authors = new Set(held.flat().map(({ author }) => author))
  const same = new Set(hashes.map((one) => one.join())).size === 1
  return same && authors.size === pools ? `${hashes[0]?.length} facts, the same` : undefined
}

const vouchers = () => Promise.all(ways.map(([one, other]) => one.vouchedBy(other)))

/** Each has signed for a log of each other that is longer than this. */
async function vouched(than: readonly number[]): Promise<string | undefined> {
  const sizes = await vouchers()
  return sizes.every((size, n) => size > (than[n] ?? 0)) ? `${sizes.join(', ')} leaves` : undefined
}

/** A user of this pool asks for what the next one has. */
async function lend(site: Site): Promise<string | undefined> {
  const { model, id } = nextTo(site)
  const { text, pieces, receipt } = await site.ask(model, 'capital of Japan?')
  const { out } = await site.town.cli('verify', receipt, '--pool', site.id)
  const way = out.split('\n').find((line) => line.startsWith('asked at pool'))
  const right = text === 'Tokyo' && way?.includes(`computed by pool ${id.slice(0, 12)}`)
  return right ? `“${text}” in ${pieces} pieces; ${way}` : undefined
}

async function meetAndLend(): Promise<void> {
  await step('they shake hands', async () => {
    for (const [one, other] of meetings) await one.town.cli('fed', 'add', other.road.url)
    const known = await Promise.all(ways.map(([one, other]) => one.knows(other)))
    return known.every((peer) => peer) && 'trust 1 on all sides'
  })
  const sayTrust = async () => {
    for (const [one, other] of ways) await one.trust(other)
  }
  let said: Promise<void> | undefined
  await step('their humans say: jobs, and a bond', async () => {
    said ??= sayTrust()
    await said
    const seen = await Promise.all(ways.map(([one, other]) => one.knows(other)))
    return seen.every((peer) => peer?.trust === 3 && peer.their_level === 3) && 'trust 3, signed by an admin of each'
  })
  for (const site of sites.slice(0, -1))
    await step(`a user of ${site.name} asks for ${nextTo(site).name}'s model`, () => lend(site))
  await step(`what each says to all is known to ${everybody}`, sameFacts, 90_000)
  await step("each signs for the other's log", () => vouched([]), 90_000)
}

/** A user of this pool asks for a model that only an unreachable pool has, and is told at once. */
async function refusedAt(site: Site): Promise<string | undefined> {
  const asked = Date.now()
  const error = await site.ask(nextTo(site).model, '1+2=?').then(
    () => undefined,
    (error: { status?: number; message: string }) => error,
  )
  return error?.status === undefined ? undefined : `refused after ${Date.now() - asked} ms: ${error.message}`
}

async function cutApart(): Promise<readonly number[]> {
  const before = await vouchers()
  for (const site of sites) Object.assign(site.served, { answered: 0, failed: 0 })
  for (const { road } of sites) road.cut()
  tell(`      the roads between them are cut for ${cutSeconds} s`)
  const mendAt = Date.now() + cutSeconds * 1_000
  for (const site of sites.slice(0, -1))
    await step(`a user of ${site.name} asks for ${nextTo(site).name}'s model`, () => refusedAt(site))
  await step(`${everybody} change a price meanwhile`, async () => {
    for (const [n, site] of sites.entries()) {
      const price = ['--completion-token', `0.0000${n + 3}`]
      const { code, err } = await site.town.cli('prices', 'set', site.model, ...price)
      if (code !== 0) throw new Error(err)
    }
    return 'each side wrote what the others cannot see'
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
  await step('none has heard what another wrote meanwhile', async () => {
    const heard = (await Promise.all(sites.map(newPrices))).flat()
    return !heard.includes(true) && 'the cut was one'
  })
  for (const { road } of sites) road.mend()
  tell('      the roads are mended, and nobody does anything')
  return before
}

/** Of each other pool, whether its price of the time of the cut is known at this one. */
async function newPrices(at: Site): Promise<readonly boolean[]> {
  const facts = await at.facts()
  return [...sites.entries()].flatMap(([n, { id, model }]) => {
    if (id === at.id) return []
    const value = facts.find(({ author, name }) => author === id && name.includes(model))?.value
    return [value !== undefined && JSON.parse(value).completion === `${(n + 3) * 10}`]
  })
}

async function agreeAgain(before: readonly number[]): Promise<void> {
  const mendedAt = Date.now()
  const after = async () => {
    const heard = (await Promise.all(sites.map(newPrices))).flat()
    const same = heard.includes(false) ? undefined : await sameFacts()
    return same && `${same}, ${Math.round((Date.now() - mendedAt) / 1_000)} s after the mend`
  }
  await step(`${everybody} hold the same facts again, the new prices among them`, after, 120_000)
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
  for (const [one, other] of ways) {
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
  await startAll()
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
if (json)
  process.stdout.write(`${JSON.stringify({ good, seconds: seconds(), pools, cut_seconds: cutSeconds, steps })}\n`)
else if (!stop.signal.aborted) {
  const fallen = steps.filter(({ held }) => !held).length
  tell(
    good
      ? 'Cut apart and together again: nothing lost, nobody had to help.'
      : `${fallen} of ${steps.length} steps failed.`,
  )
}
