import { open } from 'node:fs/promises'
import { Command } from 'commander'
import type { ReceiptExpectation } from '#protocol'
import { binLimits } from '../limits.ts'
import { exitCodes } from './exit-codes.ts'
import { settingsOf, withExamples, withSettings } from './options.ts'
import { clean, print } from './output.ts'
import { PoolClient } from './pool-client.ts'
import { CommandProblem } from './problem.ts'

interface VerifyOptions {
  readonly response?: string
  readonly pool?: string
  readonly json?: boolean
}

export function verifyCommand(): Command {
  const command = new Command()
    .argument('<receipt>', 'a receipt file, or the id that `x-lichen-receipt` said')
    .option('--response <file>', 'the answer as it was received: the JSON body or the event stream')
    .option('--pool <key>', 'the pool it must come from: its id or its public key')
    .action(async (receipt: string, options: VerifyOptions, self: Command) => {
      const { verifyReceipt } = await import('#protocol')
      const expected = { ...pinOf(options.pool), ...(await responseOf(options.response)) }
      const verdict = verifyReceipt(await receiptBytes(receipt, self), expected)
      if (!verdict.ok) {
        const { code, sentence } = verdict.problem
        throw new CommandProblem(
          code,
          sentence,
          'Do not rely on this receipt; fetch it again from the pool, and compare.',
        )
      }
      print(options.json === true, { ok: true, checked: verdict.lines }, () => verdict.lines.map(clean).join('\n'))
    })
  return withExamples(withSettings(command, ['client']), [
    ['lichen verify receipt.json', 'everything in the file, without asking anybody'],
    ['lichen verify receipt.json --response answer.json', 'and that this is the answer it was written for'],
    ['lichen verify receipt.json --pool 3fa4…', 'and that this pool wrote it'],
    ['lichen verify 01936f…', 'the receipt of that request, fetched from the pool first'],
  ])
}

/** @throws CommandProblem. */
export function pinOf(pool: string | undefined): Pick<ReceiptExpectation, 'poolId' | 'poolKey'> {
  if (pool === undefined) return {}
  if (/^[0-9a-f]{64}$/.test(pool)) return { poolId: pool }
  const poolKey = Buffer.from(pool, 'base64url')
  if (poolKey.length === 32 && poolKey.toString('base64url') === pool) return { poolKey }
  const sentence = '--pool is neither an id (64 hex digits) nor a public key (43 characters of base64url).'
  throw new CommandProblem('config_invalid', sentence, '`lichen status` on the pool says its id.', exitCodes.usage)
}

async function responseOf(file: string | undefined): Promise<ReceiptExpectation> {
  return file === undefined ? {} : { response: await readWhole(file) }
}

const idPattern = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

async function receiptBytes(receipt: string, command: Command): Promise<Buffer> {
  if (!idPattern.test(receipt)) return readWhole(receipt)
  const client = new PoolClient(await settingsOf(command))
  const answer = await client.request('GET', `/v1/receipts/${receipt}`)
  if (answer.status >= 400) return client.refuse(answer)
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of answer.body) {
    bytes += chunk.length
    if (bytes > binLimits.answerBytesMax)
      throw new Error(`the pool answered more than ${binLimits.answerBytesMax} bytes`)
    chunks.push(chunk)
  }
  if (answer.status === 200) return Buffer.concat(chunks)
  throw new CommandProblem(
    'receipt_pending',
    'The request has not ended, so there is no receipt yet.',
    'Ask again later.',
  )
}

/** A file of a bounded size. @throws CommandProblem when it cannot be read. */
async function readWhole(file: string): Promise<Buffer> {
  try {
    await using handle = await open(file)
    const { size } = await handle.stat()
    if (size <= binLimits.answerBytesMax) return await handle.readFile()
  } catch (error) {
    throw misuse(`${file} cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown'}).`)
  }
  throw misuse(`${file} is larger than ${binLimits.answerBytesMax} bytes.`)
}

function misuse(sentence: string): CommandProblem {
  return new CommandProblem('config_invalid', sentence, '`lichen verify --help` shows examples.', exitCodes.usage)
}
