import { readFile, stat, writeFile } from 'node:fs/promises'
import { z } from 'zod'
import { ConfigError, type Settings } from '#config'
import { askSeen, type Compared, compareSeen, Outbound, type Peer, Peers, seenSchema, Toggles } from '#federation'
import { headOf, latestCheckpoint, readGenerationNotes, readPoolKeys, readRootAt } from '#log'
import { PoolError } from '#protocol'
import { deadlineSignal, systemRuntime as runtime } from '#runtime'
import type { Database } from '#storage'
import { killSwitchFilesOf, killSwitchFilesThere } from './kill-switch-files.ts'
import { binLimits } from './limits.ts'
import { openForCommand, poolKeyOf, refuseMissingFolder, refuseOtherSchema } from './pool-database.ts'

/** What `--save` writes and `--against FILE` reads. */
const fileSchema = z.object({ witness: z.string().max(64), seen: z.array(seenSchema).max(2_000) })
type Seen = z.infer<typeof fileSchema>

export type AgainstResult =
  | { readonly says: 'unreachable'; readonly witness: string; readonly problem: string }
  | { readonly says: 'nothing'; readonly witness: string }
  | (Compared & { readonly witness: string })

/**
 * `lichen audit --against`: whether this pool's log still holds what a witness has seen of it.
 * @param from A peer's id or its beginning, its URL, or a file that was saved by an earlier audit.
 * @throws PoolError not_found, config_invalid.
 */
export async function runAuditAgainst(settings: Settings, from: string, save?: string): Promise<AgainstResult> {
  await refuseMissingFolder(settings.data)
  const identity = await poolKeyOf(settings.data)
  await using opened = await openForCommand(settings)
  const { database } = opened
  const { sql } = database
  await refuseOtherSchema(database)
  using peers = await Peers.open(database, runtime, () => {})
  const isPeer = /^([0-9a-f]{6,64}|https?:\/\/.*)$/.test(from)
  const peer = isPeer ? findPeer(peers, from) : undefined
  const asked = peer ? await ask(settings, database, peers, peer, identity) : await readSeen(from)
  if ('problem' in asked) return { says: 'unreachable', ...asked }
  const { witness, seen } = asked
  if (seen.length === 0) return { says: 'nothing', witness }
  if (save !== undefined) {
    await writeFile(save, `${JSON.stringify(asked)}\n`, { flag: 'wx' }).catch((error: NodeJS.ErrnoException) => {
      throw new PoolError('config_invalid', `${save} cannot be written (${error.code}).`, 'Name a new file.')
    })
  }
  // read after the witness was asked: a pool that runs may have shown it more meanwhile
  const [head, latest] = [await headOf(sql), await latestCheckpoint(sql, identity.publicKey)]
  const compared = await compareSeen(
    seen,
    {
      keys: await readPoolKeys(sql, identity.publicKey),
      generation: latest.generation,
      size: head?.size ?? 0,
      rootAt: (size) => readRootAt(sql, size),
      statements: await readGenerationNotes(sql),
    },
    (peer ?? peers.find(witness))?.key,
  )
  return { ...compared, witness }
}

function findPeer(peers: Peers, from: string): Peer {
  const url = from.replace(/\/+$/, '')
  const peer = peers.find(from) ?? peers.list().find((one) => one.url.replace(/\/+$/, '') === url)
  if (peer) return peer
  throw new PoolError('not_found', `There is no pool ${from} among the peers.`, '`lichen fed ls` shows who is known.')
}

async function ask(
  settings: Settings,
  database: Database,
  peers: Peers,
  peer: Peer,
  identity: ConstructorParameters<typeof Outbound>[0]['identity'],
): Promise<Seen | { witness: string; problem: string }> {
  if (settings.federation !== 'active')
    throw new ConfigError(
      'config_invalid',
      'This command calls no other pool: federation is not active in its settings.',
      'Give it the settings of the pool (LICHEN_FEDERATION=active), or name a file that was saved with --save.',
    )
  const files = killSwitchFilesOf(settings)
  using killSwitch = await Toggles.open({
    database,
    runtime,
    filesThere: () => killSwitchFilesThere(files, runtime),
    whyNoWrite: async () => undefined,
    onFlip: () => {},
    onProblem: () => {},
  })
  using outbound = new Outbound({
    identity,
    runtime,
    killSwitch,
    policy: { httpHosts: settings.federationHttpHosts, privateRanges: settings.federationPrivateRanges },
    whileTrusted: (id, abort) => peers.whileTrusted(id, abort),
  })
  using deadline = deadlineSignal(runtime, binLimits.askWitnessMsMax, new Error('the witness took too long'))
  const asked = await askSeen(
    peer.id,
    (_, target, body, signal) =>
      outbound.call({ url: peer.url, known: peer }, { method: 'POST', target, body, signal }),
    deadline.signal,
  )
  return asked.ok ? { witness: peer.id, seen: [...asked.seen] } : { witness: peer.id, problem: asked.problem }
}

async function readSeen(file: string): Promise<Seen> {
  const found = await stat(file).catch(() => undefined)
  if (!found) throw new PoolError('not_found', `There is no peer and no file ${file}.`, '`lichen fed ls` shows peers.')
  const read =
    found.size <= binLimits.seenFileBytesMax
      ? fileSchema.safeParse(jsonOf(await readFile(file, 'utf8').catch(notRead(file))))
      : { success: false as const }
  if (read.success) return read.data
  throw new PoolError(
    'invalid_request',
    `${file} holds no checkpoints that a witness has seen.`,
    'Write one with `lichen audit --against PEER --save FILE`.',
  )
}

const notRead = (file: string) => (error: NodeJS.ErrnoException) => {
  const fix = 'Name a file that `lichen audit --against PEER --save FILE` wrote.'
  throw new PoolError('invalid_request', `${file} cannot be read (${error.code}).`, fix)
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
