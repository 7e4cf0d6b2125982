/**
 * What a scheduling decision costs at 10, 1,000 and 100,000 workers, and how long requests wait compared with an ideal
 * central queue (simulated time). Writes bench/results/scheduler.json.
 *
 * The ideal is one first-come-first-served line before all slots; `perWorker` is a line per worker, for scale.
 *
 *   npm run bench:scheduler
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { decisionCost } from './scheduler/decisions.ts'
import { compareWaits, simulatedLoad } from './scheduler/waiting.ts'

const decisions = [10, 1_000, 100_000].map(decisionCost)
console.log('workers   decision  with release  2 excluded  by affinity   (ns of CPU, median)')
for (const one of decisions) {
  const cells = [one.decisionNs, one.cycleNs, one.excludingNs, one.affinityNs]
  console.log(`${String(one.workers).padStart(7)}${cells.map((ns) => String(ns).padStart(12)).join('')}`)
}

// One key: what choosing workers costs against the ideal. Sixteen: what fair shares add to the tail.
const waits = [1, 16].map((keys) => compareWaits(keys, [1, 2, 3, 4, 5]))
for (const { keys, results, p99Ratio } of waits) {
  console.log(`\n${keys} key${keys === 1 ? '' : 's'}       p50 wait   p99 wait   (simulated s, median of 5 loads)`)
  for (const { queue, p50, p99 } of results) {
    console.log(`${queue.padEnd(12)}${p50.toFixed(3).padStart(7)}${p99.toFixed(3).padStart(11)}`)
  }
  console.log(`p99, ours : ideal = ${p99Ratio.toFixed(2)} (goal ≤ 1.2)`)
}

const folder = path.join(import.meta.dirname, 'results')
const cpu = os.cpus()[0]?.model.trim()
mkdirSync(folder, { recursive: true })
writeFileSync(
  path.join(folder, 'scheduler.json'),
  `${JSON.stringify(
    {
      command: 'npm run bench:scheduler',
      machine: { cpu, cores: os.cpus().length, node: process.version, platform: `${os.type()} ${os.release()}` },
      measured: new Date().toISOString().slice(0, 10),
      goals: { decisionNsAt100000: 1_000, p99Ratio: 1.2 },
      decisions,
      load: simulatedLoad,
      waits,
    },
    undefined,
    2,
  )}\n`,
)
