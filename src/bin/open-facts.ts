import { FactExchange, type Federation, revokedTokens, type Sayings } from '#federation'
import { findReceipt } from '#jobs'
import { readGenerationNotes } from '#log'
import { openCheckpoint } from '#protocol'
import { slashedWorkers } from '#verification'
import { binLimits } from './limits.ts'
import type { Ground, Rooms } from './open-rooms.ts'

/** What this pool says to all others, and what it takes from them. */
export function openFacts(all: Ground & Rooms, federation: Federation): FactExchange {
  const { settings, runtime, pool, database, transparency, elsewhere, journal, log, trouble, closers } = all
  const exchange = new FactExchange({
    database,
    runtime,
    identity: pool.identity,
    federation,
    mayCall: () => settings.federation === 'active',
    generation: async () => {
      const opened = openCheckpoint(await transparency.checkpoint(), pool.identity.publicKey)
      if (!opened.ok) throw new Error(opened.message)
      return opened.checkpoint.generation
    },
    sayings: sayingsOf(all),
    log: {
      checkpoint: () => transparency.checkpoint(),
      consistency: (from, to) => transparency.consistency(from, to),
      statements: (max) => readGenerationNotes(database.sql, max),
    },
    onAccused: (event) => log.error(event, 'a witness has seen another history of this pool: run `lichen audit`'),
    onSilence: ({ peer, silent }) => {
      journal.add(silent ? 'witness_silent' : 'witness_back', peer, {})
      if (silent) log.warn({ peer }, 'a witness has not signed for long what there is to sign: `lichen fed ping` it')
      else log.info({ peer }, 'a witness signs again')
    },
    onExchanged: ({ peer, kept, refused, rounds, problem }) => {
      if (kept > 0 || refused > 0 || problem !== null)
        log.info({ peer, kept, refused, rounds, problem }, 'facts were compared with another pool')
    },
    onProblem: trouble('facts between pools are in trouble'),
  })
  elsewhere.trusted = () => exchange.soon()
  // and is told at once what it has missed
  exchange.soon()
  elsewhere.isSuspected = (id) => exchange.notices.isSuspected(id)
  closers.add('facts between pools', () => exchange[Symbol.asyncDispose]())
  return exchange
}

function sayingsOf({ database, runtime, pool, models, ledger, transparency }: Ground & Rooms): Sayings {
  const { sql } = database
  return {
    models: () =>
      Promise.all(
        models.list().map(async ({ name, variants }) => {
          const { prompt, completion } = await ledger.prices.for(name)
          return {
            name,
            digest: variants[0]?.digest ?? null,
            prompt: String(prompt),
            completion: String(completion),
          }
        }),
      ),
    revokedTokens: () => revokedTokens(sql, pool.poolId, runtime.now()),
    slashes: async () => {
      const prove = transparency.proveAll.bind(transparency)
      const found = await Promise.all(
        (await slashedWorkers(sql, binLimits.slashesToldMax)).map(async ({ workerId, jobId }) => {
          const receipt = await findReceipt({ sql, keys: transparency.keys, prove }, jobId)
          return receipt?.state === 'ready' ? [{ workerId, receipt: receipt.file }] : []
        }),
      )
      return found.flat()
    },
  }
}
