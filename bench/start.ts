/**
 * How long commands take from start to end, against `node -e 0` of the same Node, sources and bundle, one after the other
 * in each round. Writes bench/results/start.json.
 *
 * `http` is the least a command that asks a pool can cost: one bare `http.get` of `/version`. The first round, which
 * fills Node's compile cache, is not counted.
 *
 *   npm run bench:start
 */
import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { installBundle } from '../src/testkit/install-bundle.ts'

const root = path.resolve(import.meta.dirname, '..')
const rounds = 15
const goal = 1.2
const folder = mkdtempSync(path.join(os.tmpdir(), 'lichen-start-'))
const data = path.join(folder, 'data')

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN

function run([file = '', ...args]: readonly string[]): number {
  const startedAt = performance.now()
  const { status } = spawnSync(file, args, { stdio: 'ignore', env: { PATH: process.env.PATH, HOME: folder } })
  if (status !== 0) throw new Error(`${[file, ...args].join(' ')} ended with ${status}`)
  return performance.now() - startedAt
}

function measure(commands: Readonly<Record<string, readonly string[]>>) {
  const times = new Map(Object.keys(commands).map((name) => [name, [] as number[]]))
  for (let round = 0; round <= rounds; round++) {
    for (const [name, command] of Object.entries(commands)) {
      const ms = run(command)
      if (round > 0) times.get(name)?.push(ms)
    }
  }
  const bareMs = median(times.get('node -e 0') ?? [])
  return [...times].map(([command, all]) => {
    const ms = median(all)
    return { command, ms: Number(ms.toFixed(1)), ofBareNode: Number((ms / bareMs).toFixed(2)) }
  })
}

const node = process.execPath
const installed = path.join(folder, 'installed')
await installBundle(installed)
const launchers = { sources: path.join(root, 'bin/lichen'), bundle: path.join(installed, 'bin/lichen') }
const pool = spawn(launchers.sources, ['pool', '--json', '--port', '0', '--data', data], {
  stdio: ['ignore', 'pipe', 'ignore'],
})
try {
  const { value: line } = await createInterface({ input: pool.stdout })[Symbol.asyncIterator]().next()
  const { url } = JSON.parse(String(line))
  const get = `process.getBuiltinModule('node:http').get('${url}/version',{agent:false},(r)=>r.resume())`
  const ours = Object.entries(launchers).flatMap(([kind, file]) => [
    [`${kind}: lichen --version`, [file, '--version']],
    [`${kind}: lichen --help`, [file, '--help']],
    [`${kind}: lichen keys ls`, [file, 'keys', 'ls', '--data', data]],
  ])
  const results = measure({ 'node -e 0': [node, '-e', '0'], http: [node, '-e', get], ...Object.fromEntries(ours) })
  for (const { command, ms, ofBareNode } of results) {
    console.log(`${command.padEnd(26)}${ms.toFixed(1).padStart(8)} ms${ofBareNode.toFixed(2).padStart(8)}×`)
  }
  const cpu = os.cpus()[0]?.model.trim()
  const machine = { cpu, cores: os.cpus().length, node: process.version, platform: `${os.type()} ${os.release()}` }
  const measured = new Date().toISOString().slice(0, 10)
  const report = { command: 'npm run bench:start', machine, measured, rounds, goal, results }
  mkdirSync(path.join(root, 'bench/results'), { recursive: true })
  writeFileSync(path.join(root, 'bench/results/start.json'), `${JSON.stringify(report, null, 2)}\n`)
} finally {
  const ended = new Promise((resolve) => pool.once('exit', resolve))
  pool.kill('SIGTERM')
  await ended
  rmSync(folder, { recursive: true })
}
