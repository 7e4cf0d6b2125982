import { z } from 'zod'
import { type ConformanceOp, conformanceOp, hexSchema, type OpResult, refused } from './conformance.ts'
import {
  checkOrder,
  decodeOrderHeader,
  decodeStrict,
  SignatureChecker,
  signedView,
  verifyReceipt,
} from './signed/index.ts'

const base64 = z.base64('padded standard base64').transform((text) => Buffer.from(text, 'base64'))
const amount = z
  .string()
  .regex(/^(?:0|[1-9][0-9]{0,18})$/, 'micro-credits in decimal')
  .transform((text) => BigInt(text))
const bytesSchema = z.strictObject({ bytes: base64 })

const receiptSchema = z.strictObject({ receipt: base64, response: base64.optional(), pool_key: hexSchema.optional() })

const orderSchema = z.strictObject({
  header: z.string(),
  body: base64,
  now: z.int().min(0),
  pool_key: hexSchema,
  kind: z.enum(['chat', 'completion', 'embedding']),
  model: z.string(),
  digest: hexSchema.nullable(),
  prices: z.strictObject({ prompt: amount, completion: amount }),
  assurance: z.string().optional(),
  needed: amount,
  account: z.string(),
  payer_key: hexSchema.nullable(),
  payer_signature: z.enum(['optional', 'required']),
})

/** Bytes as DAG-JSON writes them, integers that a double cannot hold as decimal text. */
function readable(value: unknown): unknown {
  if (value instanceof Uint8Array) return { '/': { bytes: Buffer.from(value).toString('base64').replaceAll('=', '') } }
  if (typeof value === 'bigint') return value.toString()
  if (Array.isArray(value)) return value.map(readable)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, readable(member)]))
}

function decode(bytes: Buffer): OpResult {
  const decoded = decodeStrict(bytes)
  if (decoded.ok) return { ok: true, output: { value: readable(decoded.value) } }
  return refused('not_strict', `The bytes are refused: ${decoded.problem}.`)
}

function verifyOrder({
  header,
  pool_key,
  payer_key,
  payer_signature,
  ...known
}: z.infer<typeof orderSchema>): OpResult {
  const decoded = decodeOrderHeader(header)
  if (!decoded.ok) return refused(decoded.refusal.code, decoded.refusal.message)
  const { order, salt } = decoded.header
  const facts = { ...known, poolKey: pool_key, payerKey: payer_key, payerSignature: payer_signature, salt }
  const refusal = checkOrder(order, { ...facts, checker: new SignatureChecker() })
  if (refusal) return refused(refusal.code, refusal.message)
  return { ok: true, output: { hash: order.hash.toString('hex'), order: signedView(order.message) } }
}

function verify({ receipt, response, pool_key }: z.infer<typeof receiptSchema>): OpResult {
  const verdict = verifyReceipt(receipt, {
    ...(response === undefined ? {} : { response }),
    ...(pool_key === undefined ? {} : { poolKey: pool_key }),
  })
  if (verdict.ok) return { ok: true, output: { checked: verdict.lines } }
  return refused(verdict.problem.code, verdict.problem.sentence)
}

/** Operations on signed bytes, orders and receipts; docs/reference/conformance.md shows one example of each. */
export const signedOps: Readonly<Record<string, ConformanceOp>> = {
  'dagcbor.decode': conformanceOp(bytesSchema, ({ bytes }) => decode(bytes)),
  'order.verify': conformanceOp(orderSchema, verifyOrder),
  'receipt.verify': conformanceOp(receiptSchema, verify),
}
