/**
 * What verified work costs, and what it finds: the share of requests that the default profile checks, times the looks each
 * takes, times what a look costs of a generation; and how many requests cheaters of four kinds get through, against checking 3 % of everything and BOINC's 1/n. The default profile
 * is the lab's (real sampling, judging, charts), the others are simulated here under the same assumptions. Writes bench/results/verify.json.
 *
 *   npm run bench:verify
 */
import { writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { labDefaults, runLab } from '#verification'
import { seededNumbers } from '../../tools/demo-model/seeded-numbers.ts'
import { measureCheckCosts } from './check-cost.ts'
import { delayUnder, honestUnder, otherRules } from './other-rules.ts'

const cheaters = [
  { name: 'cached', is: 'newcomer, 30 %', cheats: 0.3, honestRequests: 0, goal: 15 },
  { name: 'turncoat', is: '30 % after 2,000 good answers', cheats: 0.3, honestRequests: 2_000, goal: 70 },
  { name: 'turncoat_late', is: '30 % after 20,000 good answers', cheats: 0.3, honestRequests: 20_000, goal: 130 },
  { name: 'sparse', is: 'newcomer, 3 %', cheats: 0.03, honestRequests: 0, goal: 300 },
] as const
const cases = 400
const [lives, life] = [2_000, 20_000]

const costs = await measureCheckCosts()
const lab = runLab({ ...labDefaults, adversaries: cheaters.map(({ name }) => name) })

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length)
const round = (value: number, digits = 1) => Number(value.toFixed(digits))

const random = seededNumbers(labDefaults.seed)
const delays = cheaters.map(({ name, is, goal, ...cheater }) => {
  const row = lab.rows.find((one) => one.name === name)
  const others = Object.entries(otherRules).map(([rule, watch]) => {
    const seen = Array.from({ length: cases }, () => delayUnder(watch, cheater, random))
    return [rule, round(mean(seen.filter((delay) => delay !== undefined)))] as const
  })
  return {
    cheater: is,
    goal,
    ours: round(row?.measured.delayMean ?? Number.NaN),
    theory: round(row?.expected.delayMean ?? Number.NaN),
    ...Object.fromEntries(others),
  }
})

const honest = [
  {
    rule: 'ours',
    requests: lab.honest.requests,
    checkedPercent: round(100 * lab.honest.checkRate, 2),
    convictedPercentOfLives: round((100 * lab.falseConvictions) / (lab.honest.requests / life), 2),
  },
  ...Object.entries(otherRules).map(([rule, watch]) => {
    const all = Array.from({ length: lives }, () => honestUnder(watch, life, random))
    return {
      rule,
      requests: lives * life,
      checkedPercent: round((100 * mean(all.map(({ checks }) => checks))) / life, 2),
      convictedPercentOfLives: round((100 * all.filter(({ convicted }) => convicted).length) / lives, 2),
    }
  }),
]

/** A look at the answer; transcripts known to be good or bad that come along; two more looks where the first, by noise, is a hit. */
const looksPerCheck = 1 + 2 * 0.1 + 2 * 0.01
const extraCompute = costs.map(({ model, temperature, prefillCheck }) => ({
  model,
  temperature,
  checkCostsGenerations: prefillCheck,
  extraComputePercent: round(100 * lab.honest.checkRate * looksPerCheck * prefillCheck, 2),
}))

console.log('\nRequests until a cheater is convicted, mean')
console.table(delays)
console.log(`\nHonest workers, lives of ${life.toLocaleString('en-US')} requests, 0.1 % of checks a hit`)
console.table(honest)
console.log('\nExtra compute of the default profile, of all generation')
console.table(extraCompute)
const machine = { cpu: os.cpus()[0]?.model, cores: os.cpus().length, node: process.version }
const file = path.join(import.meta.dirname, '..', 'results', 'verify.json')
writeFileSync(file, `${JSON.stringify({ machine, delays, honest, extraCompute, costs }, null, 2)}\n`)
