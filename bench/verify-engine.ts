/**
 * What a check costs, in generations. Writes bench/results/verify-engine.json. Linux only (`/proc`).
 *
 *   npm run bench:verify-engine
 */
import { writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { measureCheckCosts, rounds } from './verify/check-cost.ts'

const results = await measureCheckCosts()
console.table(results)
const machine = { cpu: os.cpus()[0]?.model, cores: os.cpus().length, node: process.version }
const file = path.join(import.meta.dirname, 'results', 'verify-engine.json')
const unit = 'checks cost so many generations'
writeFileSync(file, `${JSON.stringify({ machine, rounds, unit, results }, null, 2)}\n`)
