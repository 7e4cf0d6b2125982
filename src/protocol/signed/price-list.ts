import { z } from 'zod'
import { sha256 } from '#crypto'
import { assuranceWorkers } from '../assurance.ts'
import { hex64 } from '../hex64.ts'
import { fromBase64url } from './base64url.ts'
import { account, modelName } from './fields.ts'

/** Micro-credits as decimal text: one spelling, 0 … 10^18 − 1. */
const amountText = z.string().regex(/^(?:0|[1-9][0-9]{0,17})$/, 'must be an amount in micro-credits')

/** What `GET /v1/prices` answers: all that a payer must know to sign an order. */
export const priceListSchema = z.object({
  pool_id: hex64,
  /** base64url of the raw public key whose sha256 is the id. */
  pool_key: z.string().length(43),
  /** Ledger account of the API key that asked. */
  account,
  /** Workers that compute an answer with the assurance `required` for this key; 2 unless said. */
  required_workers: z.int().min(assuranceWorkers.min).max(assuranceWorkers.max).optional(),
  prices: z
    .array(
      z.object({
        /** `*` stands for every model that is not named. */
        model: modelName,
        prompt_token: amountText,
        completion_token: amountText,
      }),
    )
    .max(1_024),
})
/** As it travels. */
export type PriceListJson = z.infer<typeof priceListSchema>

/** Micro-credits for one token. */
export interface TokenPrices {
  readonly prompt: bigint
  readonly completion: bigint
}

/** As it is used. */
export interface PriceList {
  /** 32 bytes. */
  readonly pool: Buffer
  readonly account: string
  readonly requiredWorkers: number | undefined
  /** Undefined when the pool names no price for the model. */
  pricesOf(model: string): TokenPrices | undefined
}

/** Undefined when it is no price list, or its key is not the one of its pool. Never throws. */
export function parsePriceList(value: unknown): PriceList | undefined {
  const parsed = priceListSchema.safeParse(value)
  if (!parsed.success) return undefined
  const { pool_id, pool_key, account: payer, prices, required_workers: requiredWorkers } = parsed.data
  const key = fromBase64url(pool_key)
  if (!key || sha256(key).toString('hex') !== pool_id) return undefined
  const byModel = new Map(
    prices.map((row) => [row.model, { prompt: BigInt(row.prompt_token), completion: BigInt(row.completion_token) }]),
  )
  return {
    pool: Buffer.from(pool_id, 'hex'),
    account: payer,
    requiredWorkers,
    pricesOf: (model) => byModel.get(model) ?? byModel.get('*'),
  }
}
