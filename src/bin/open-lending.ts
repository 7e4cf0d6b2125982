import { z } from 'zod'
import { JobLender } from '#api'
import { answerNo, answerYes, type Federation, jobPath, receiptPath, statementPath, type Toggles } from '#federation'
import { findReceipt, type ProveLeaves } from '#jobs'
import { executorPrices } from '#ledger'
import { Borrowing } from './lending/borrowing.ts'
import { lendingBooks } from './lending/lending-books.ts'
import { RemoteReceipts } from './lending/remote-receipts.ts'
import { Statements } from './lending/statements.ts'
import type { Ground, Rooms } from './open-rooms.ts'

type Needs = Ground & Pick<Rooms, 'jobs' | 'models' | 'ledger' | 'transparency' | 'elsewhere'>

const receiptAskSchema = z.strictObject({ origin_request_id: z.string().max(200) })

/** Work that goes to other pools, and theirs that comes here. */
export function openLending(
  all: Needs,
  federation: Federation,
  toggles: Pick<Toggles, 'allows'>,
): { receipts: RemoteReceipts; statements: Statements } {
  const { settings, runtime, pool, database, trouble, closers, jobs, models, ledger, elsewhere, transparency } = all
  const onProblem = trouble('lending between pools is in trouble')
  const receipts = new RemoteReceipts({ database, runtime, federation, onProblem })
  closers.add('receipts of other pools', () => receipts[Symbol.dispose]())
  const borrowing = new Borrowing({
    runtime,
    federation,
    pool: pool.identity,
    jobs,
    prices: ledger.prices,
    isHere: (model) => models.find(model) !== undefined,
    forwards: () => settings.federation === 'active' && toggles.allows('forward'),
    queueMax: settings.federationQueue,
    receipts,
    onProblem,
  })
  closers.add('borrowing', () => borrowing[Symbol.dispose]())
  elsewhere.borrowing = borrowing
  elsewhere.ended = (peer, outcome, why) => void federation.records.note(peer, outcome, why).catch(onProblem)
  const lender = new JobLender({
    jobs,
    models,
    runtime,
    pool: pool.identity,
    poolId: pool.poolId,
    lends: () => toggles.allows('accept'),
    prices: (model) => ledger.prices.for(model),
    executorPrices,
    books: lendingBooks({ database, runtime, ledger, creditLimit: settings.federationCredit }),
  })
  federation.serve(jobPath, { trustMin: 2, bucket: 'jobs', reply: (heard, signal) => lender.reply(heard, signal) })
  const prove: ProveLeaves = (leaves, pool) => transparency.proveAll(leaves, pool)
  const sources = { sql: database.sql, keys: transparency.keys, prove }
  federation.serve(receiptPath, {
    trustMin: 2,
    bucket: 'jobs',
    async reply({ envelope, verified }) {
      const asked = receiptAskSchema.safeParse(verified.body)
      if (!asked.success) return answerNo(400, 'invalid origin_request_id')
      const [row] = await database.sql<{ job_id: string | null }[]>`
        select job_id from lent_jobs where peer_id = ${envelope.sender} and origin_request_id = ${asked.data.origin_request_id}`
      const found = row?.job_id ? await findReceipt(sources, row.job_id) : undefined
      if (!found) return answerNo(404, 'no such job')
      return found.state === 'ready'
        ? answerYes({ receipt: found.file.toString('base64') })
        : answerNo(409, 'not settled yet')
    },
  })
  const statements = new Statements({ database, runtime, federation, pool: pool.identity })
  federation.serve(statementPath, { trustMin: 2, reply: (heard) => statements.reply(heard) })
  return { receipts, statements }
}
