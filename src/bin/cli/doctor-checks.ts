import { createHash } from 'node:crypto'
import { constants, createReadStream } from 'node:fs'
import { access, open, readdir, stat, statfs } from 'node:fs/promises'
import net from 'node:net'
import path from 'node:path'
import type { Settings } from '#config'
import { systemRuntime } from '#runtime'
import { demoModelFile } from '../demo-model.ts'
import { counted } from './output.ts'
import { PoolClient, readPoolFile } from './pool-client.ts'

/** What one look found. A problem keeps `lichen up` from working; a note does not. */
export interface Finding {
  readonly check: string
  readonly state: 'ok' | 'note' | 'problem'
  readonly message: string
  /** What to do, for everything that is not `ok`. */
  readonly fix?: string
}

type Check = (settings: Settings) => Promise<Finding[]>

const ok = (check: string, message: string): Finding[] => [{ check, state: 'ok', message }]
const note = (check: string, message: string, fix: string): Finding[] => [{ check, state: 'note', message, fix }]
const problem = (check: string, message: string, fix: string): Finding[] => [{ check, state: 'problem', message, fix }]

/** Embedded PostgreSQL, its write-ahead log and a model need about this. */
const freeBytesWanted = 2 ** 30
/** TLS, invites and expiries go wrong beyond this. */
const skewMsMax = 60_000
/** No machine's clock is honestly before this program was written. */
const notBeforeMs = Date.UTC(2026, 0, 1)

const node: Check = async () => {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  return major > 22 || (major === 22 && minor >= 18)
    ? ok('node', `Node ${process.versions.node}.`)
    : problem('node', `Node ${process.versions.node} is too old.`, 'Install Node 22.18 or newer.')
}

const dataFolder: Check = async ({ data }) => {
  const found = await stat(data).catch(() => undefined)
  if (!found) return ok('data', `${data} will be made by the first start.`)
  if (!found.isDirectory()) return problem('data', `${data} is not a folder.`, 'Give another with --data.')
  if (process.getuid && found.uid !== process.getuid()) {
    return problem(
      'data',
      `${data} belongs to user ${found.uid}.`,
      'Start lichen as that user, or give another --data.',
    )
  }
  if ((found.mode & 0o077) !== 0) {
    return problem('data', `Others on this machine may look into ${data}.`, `chmod 700 ${data}`)
  }
  await access(data, constants.W_OK)
  return ok('data', `${data} is yours alone.`)
}

const keyFiles: Check = async ({ data }) => {
  const names = (await readdir(data).catch(() => [])).filter((name) => /(\.key|-key)$/.test(name))
  const loose: string[] = []
  for (const name of names)
    if (((await stat(path.join(data, name))).mode & 0o077) !== 0) loose.push(path.join(data, name))
  return loose.length === 0
    ? ok(
        'keys',
        names.length === 0
          ? 'No key files yet.'
          : `${counted(names.length, 'key file is', 'key files are')} yours alone.`,
      )
    : problem('keys', `Others on this machine may read ${loose.join(', ')}.`, `chmod 600 ${loose.join(' ')}`)
}

const disk: Check = async ({ data }) => {
  const { bavail, bsize } = await statfs(await nearestFolder(data))
  const free = `${((bavail * bsize) / 2 ** 30).toFixed(1)} GiB are free`
  return bavail * bsize >= freeBytesWanted
    ? ok('disk', `${free} for ${data}.`)
    : problem('disk', `Only ${free} for ${data}.`, 'Make room for 1 GiB, or give another --data.')
}

const clock: Check = async () =>
  systemRuntime.now() > notBeforeMs
    ? ok('clock', `It is ${new Date(systemRuntime.now()).toISOString()}.`)
    : problem(
        'clock',
        'The clock of this machine is years behind.',
        'Set it, for example with `timedatectl set-ntp true`.',
      )

const bind: Check = async (settings) => {
  await (await import('../refuse-settings.ts')).refuseSettings(settings)
  return settings.insecureBind
    ? note('bind', `${settings.host} is served without TLS.`, 'Put TLS in front of it: docs/operating/tls.md.')
    : ok('bind', `Listening on ${settings.host} is safe.`)
}

const port: Check = async ({ host, port, data }) => {
  const own = readPoolFile(data)
  if (own && isAlive(own.pid)) return ok('port', `This pool listens on ${own.url} (process ${own.pid}).`)
  const refused = await new Promise<NodeJS.ErrnoException | undefined>((resolve) => {
    const server = net.createServer()
    server.once('error', resolve)
    server.listen(port, host, () => server.close(() => resolve(undefined)))
  })
  if (!refused) return ok('port', `Port ${port} is free.`)
  if (refused.code === 'EADDRINUSE') {
    return problem(
      'port',
      `Another program holds port ${port} of ${host}.`,
      `Stop it (ss -ltnp | grep ${port}), or give --port.`,
    )
  }
  return problem('port', `${host}:${port} cannot be listened on (${refused.code}).`, 'Give another --host or --port.')
}

const models: Check = async ({ model, upstream }) => {
  const files = model.length > 0 ? model : upstream.length > 0 ? [] : [demoModelFile]
  return (await Promise.all(files.map(modelFile))).flat()
}

async function modelFile(file: string): Promise<Finding[]> {
  const found = await stat(file).catch((error: NodeJS.ErrnoException) => error)
  if (found instanceof Error) {
    return problem('model', `${file} cannot be read (${found.code}).`, 'Check the path given with --model.')
  }
  if (found.isDirectory()) {
    const inside = (await readdir(file)).filter((name) => name.endsWith('.gguf'))
    if (inside.length === 0) return problem('model', `${file} holds no .gguf file.`, 'Put one there, or name a file.')
    return (await Promise.all(inside.map((name) => modelFile(path.join(file, name))))).flat()
  }
  await using handle = await open(file)
  const { buffer } = await handle.read(Buffer.alloc(4), 0, 4, 0)
  if (buffer.toString('latin1') !== 'GGUF') {
    return problem('model', `${file} is not a GGUF file.`, 'Download it again, or convert it with llama.cpp.')
  }
  return ok('model', `${file}, sha256 ${await sha256Of(file)}.`)
}

const database: Check = async ({ databaseUrl }) => {
  if (databaseUrl === undefined) return ok('database', 'PostgreSQL is embedded; it starts with the pool.')
  const { openDatabase } = await import('#storage')
  const opened = await openDatabase({ target: { url: databaseUrl }, runtime: systemRuntime, waitMs: 3_000 })
  try {
    const [row] = await opened.sql<{ now: number }[]>`select now() as now`
    const skewMs = Math.abs((row?.now ?? 0) - systemRuntime.now())
    return skewMs <= skewMsMax
      ? ok('database', 'Your PostgreSQL answers.')
      : note(
          'database',
          `The database's clock is ${Math.round(skewMs / 1_000)} s off ours.`,
          'Synchronise both with NTP.',
        )
  } finally {
    await opened.end()
  }
}

const upstreams: Check = async ({ upstream, upstreamApiKey }) => {
  const urls = upstream.filter((url) => url !== 'auto')
  return (await Promise.all(urls.map((url) => upstreamAnswers(url, upstreamApiKey)))).flat()
}

async function upstreamAnswers(url: string, apiKey: string | undefined): Promise<Finding[]> {
  const models = /\/v\d+$/.test(url) ? `${url}/models` : `${url}/v1/models`
  const headers = apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }
  const answer = await fetch(models, { headers, signal: AbortSignal.timeout(3_000) }).catch(() => undefined)
  await answer?.body?.cancel()
  if (answer?.ok) return ok('upstream', `${url} answers.`)
  const why = answer ? `answers ${answer.status}` : 'does not answer'
  return problem('upstream', `${url} ${why}.`, 'Start it, check the URL, or set LICHEN_UPSTREAM_API_KEY.')
}

/** What can be asked of a pool that runs; quiet when none does. */
const runningPool: Check = async (settings) => {
  if (settings.url === undefined && readPoolFile(settings.data) === undefined) {
    return note('pool', 'No pool runs on this data folder.', 'Start one with `lichen up`.')
  }
  const client = new PoolClient(settings)
  const ready = await client.request('GET', '/readyz')
  ready.body.resume()
  const skewMs = Math.abs(Date.parse(ready.headers.date ?? '') - systemRuntime.now())
  const skewed = skewMs > skewMsMax
  return [
    ...(ready.status === 200
      ? ok('pool', `${client.url} is ready.`)
      : problem(
          'pool',
          `${client.url} runs but cannot answer requests.`,
          'See workers below, and the log of the pool.',
        )),
    ...(skewed
      ? problem('clock', `The pool's clock is ${Math.round(skewMs / 1_000)} s off ours.`, 'Synchronise both with NTP.')
      : []),
    ...(await connectedWorkers(client)),
    ...(await silentWitnesses(client)),
  ]
}

async function silentWitnesses(client: PoolClient): Promise<Finding[]> {
  const path = '/v1/admin/federation/witnesses'
  const { silent } = await client.json<{ silent: readonly { witness: string; since: string }[] }>('GET', path)
  return silent.flatMap(({ witness, since }) =>
    note(
      'witness',
      `Pool ${witness.slice(0, 12)} has signed nothing of this pool's log since ${since}.`,
      `\`lichen fed ping ${witness.slice(0, 12)}\`, then ask its admin.`,
    ),
  )
}

async function connectedWorkers(client: PoolClient): Promise<Finding[]> {
  const workers = await client.all<{ id: string; standing: string; connected: boolean }>('/v1/admin/workers')
  const serving = workers.filter((worker) => worker.connected && worker.standing === 'approved').length
  const waiting = workers.filter((worker) => worker.standing === 'pending').length
  return [
    ...(serving > 0
      ? ok('workers', `${counted(serving, 'approved worker is', 'approved workers are')} connected.`)
      : problem('workers', 'No approved worker is connected.', 'Invite one: `lichen invite --operator NAME`.')),
    ...(waiting > 0
      ? note(
          'workers',
          `${counted(waiting, 'worker waits', 'workers wait')} for approval.`,
          '`lichen workers ls`, then approve.',
        )
      : []),
  ]
}

/** In the order they are shown. */
export const checks: readonly (readonly [name: string, check: Check])[] = [
  ['node', node],
  ['data', dataFolder],
  ['keys', keyFiles],
  ['disk', disk],
  ['clock', clock],
  ['bind', bind],
  ['port', port],
  ['model', models],
  ['upstream', upstreams],
  ['database', database],
  ['pool', runningPool],
]

async function nearestFolder(folder: string): Promise<string> {
  const found = await stat(folder).catch(() => undefined)
  return found || folder === path.dirname(folder) ? folder : nearestFolder(path.dirname(folder))
}

async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(file)) hash.update(chunk)
  return hash.digest('hex')
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
