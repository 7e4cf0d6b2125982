import path from 'node:path'
import { packageVersion, type Settings } from '#config'
import { asTyped } from './as-typed.ts'
import { clean } from './cli/output.ts'
import { demoModelName } from './demo-model.ts'

/** What whoever started the pool needs to know. */
export interface ReadyPool {
  readonly url: string
  readonly poolId: string
  /** A key that works. */
  readonly apiKey: string
  /** The very first one: a person sees it now and never again. */
  readonly firstTime: boolean
  readonly database: string
  /** Names of what the local worker lends; undefined without a local worker. */
  readonly models: readonly string[] | undefined
  /** Whether a request would be answered now. */
  readonly ready: boolean
}

interface Announcement {
  readonly pool: ReadyPool
  readonly settings: Settings
  readonly json: boolean
  readonly tookMs: number
}

/** One line for a program, or a page for a person, on stdout. */
export function announceReady({ pool, settings, json, tookMs }: Announcement): void {
  const { ready, url, apiKey, poolId } = pool
  const line = { ready, url, api_key: apiKey, pid: process.pid, pool_id: poolId }
  process.stdout.write(json ? `${JSON.stringify(line)}\n` : asTyped(pageFor(pool, settings, tookMs)))
}

function pageFor(
  { url, poolId, apiKey, firstTime, database, models }: ReadyPool,
  settings: Settings,
  tookMs: number,
): string {
  const model = models?.[0] ?? demoModelName
  const body = { model, messages: [{ role: 'user', content: model === demoModelName ? '3+4=?' : 'Say hello.' }] }
  const keyFile = path.join(settings.data, 'first-api-key')
  const shownKey = firstTime ? apiKey : `$(cat ${keyFile})`
  const worker = models
    ? `this machine, lending ${models.map(clean).join(', ') || 'nothing yet'}${toy(models)}`
    : 'none yet: lichen invite --operator NAME'
  return [
    '',
    `Lichen ${packageVersion} is ready (${(tookMs / 1_000).toFixed(1)} s).`,
    '',
    `  API       ${url}/v1`,
    `  Pool      ${poolId}`,
    `  Database  ${database}`,
    `  Worker    ${worker}`,
    `  Data      ${settings.data}`,
    '',
    ...(firstTime
      ? ['Your first API key:', '', `  ${apiKey}`, '', `It is kept in ${keyFile}.`]
      : [`The API key is in ${keyFile}.`]),
    '',
    'Try it:',
    '',
    `  curl ${url}/v1/chat/completions \\`,
    `    -H "Authorization: Bearer ${shownKey}" \\`,
    '    -H "Content-Type: application/json" \\',
    `    -d '${JSON.stringify(body)}'`,
    '',
    'Ctrl-C stops everything.',
    '',
  ].join('\n')
}

/** Nobody should take the demo model for more than it is. */
const toy = (models: readonly string[]) => (models.includes(demoModelName) ? ' (a toy: sums, echoes, capitals)' : '')
