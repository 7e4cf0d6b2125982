// Installs the dependencies when, and only when, node_modules is not what package-lock.json says.
// Plain JavaScript for Node 18: it runs before our own Node is there. stdout stays empty; progress goes to stderr.
//
//   node tools/setup.mjs                  everything (tests, tools)
//   node tools/setup.mjs --runtime-only   what a pool needs; also the default in front of `npm start`
//
// A full installation satisfies both. Two at once wait for each other.
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..')
const runtimeOnly = process.argv.includes('--runtime-only') || process.env.npm_lifecycle_event === 'prestart'

if (!installed(!runtimeOnly)) {
  await withLock(() => {
    if (!installed(!runtimeOnly)) install()
  })
}

/**
 * Compares npm's own record of node_modules with the lockfile (an interrupted installation has no record), and the
 * versions that really lie there: `npm install --package-lock-only` rewrites the record alone.
 */
function installed(withDevelopment) {
  const wanted = packagesOf(path.join(root, 'package-lock.json'))
  const present = packagesOf(path.join(root, 'node_modules', '.package-lock.json'))
  if (!wanted || !present) return false
  return Object.entries(wanted).every(([folder, { version, integrity, dev, devOptional, optional }]) => {
    if (folder === '' || ((dev || devOptional) && !withDevelopment)) return true
    const found = present[folder]
    if (!found) return Boolean(optional || devOptional)
    return found.version === version && found.integrity === integrity && versionIn(folder) === version
  })
}

function packagesOf(file) {
  return readJson(file)?.packages
}

function versionIn(folder) {
  return readJson(path.join(root, folder, 'package.json'))?.version
}

function readJson(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return undefined
  }
}

function install() {
  console.error('Installing dependencies (first start, about 20 s)…')
  const record = path.join(root, 'node_modules', '.package-lock.json')
  const fresh = !packagesOf(record)
  rmSync(record, { force: true }) // without it npm looks at what really lies there
  // `npm ci` empties node_modules first; what a running pool uses must stay, so later installations only add.
  const command = fresh ? ['ci'] : ['install', '--no-save']
  const only = runtimeOnly && fresh ? ['--omit=dev'] : ['--include=dev']
  const quiet = ['--loglevel=error', '--no-audit', '--no-fund', '--no-progress', '--ignore-scripts']
  const npm = npmProgram()
  const started = Date.now()
  const result = spawnSync(npm.file, [...npm.args, ...command, ...only, ...quiet], {
    cwd: root,
    stdio: ['ignore', 2, 2],
    env: cleanEnvironment(),
  })
  if (result.error || result.status !== 0) {
    const why = result.error ? result.error.message : `npm ended with ${result.status ?? result.signal}`
    console.error(`Dependencies could not be installed: ${why}. Check the network and the disk, then run it again.`)
    process.exit(1)
  }
  console.error(`Dependencies installed in ${Math.round((Date.now() - started) / 1000)} s.`)
}

/** The npm that is running us, else the one on the path. */
function npmProgram() {
  const own = process.env.npm_execpath
  if (own && /npm(-cli)?\.c?js$/.test(own)) return { file: process.execPath, args: [own] }
  return { file: process.platform === 'win32' ? 'npm.cmd' : 'npm', args: [] }
}

/** npm hands its own flags down as npm_config_*; those of `npm start` are not meant for this installation. */
function cleanEnvironment() {
  const names = Object.keys(process.env).filter(
    (name) => !/^npm_config_(omit|include|only|production|json)$/i.test(name),
  )
  return Object.fromEntries(names.map((name) => [name, process.env[name]]))
}

/** A file made exclusively; one left by a dead process is taken away. Waits at most ten minutes. */
async function withLock(work) {
  const folder = path.join(root, '.lichen')
  const file = path.join(folder, 'setup.lock')
  mkdirSync(folder, { recursive: true })
  for (const end = Date.now() + 600_000; ; await new Promise((resolve) => setTimeout(resolve, 200))) {
    try {
      writeFileSync(file, String(process.pid), { flag: 'wx' })
      break
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
      if (holderIsGone(file)) rmSync(file, { force: true })
      else if (Date.now() > end) {
        console.error(`Another setup holds ${file}. Wait for it, or remove the file if none is running.`)
        process.exit(1)
      }
    }
  }
  process.on('exit', () => rmSync(file, { force: true }))
  work()
}

function holderIsGone(file) {
  try {
    const pid = Number(readFileSync(file, 'utf8'))
    if (pid > 0) process.kill(pid, 0)
    return pid === 0 && Date.now() - statSync(file).mtimeMs > 5_000 // no number: made, not yet written
  } catch (error) {
    return error.code === 'ESRCH'
  }
}
