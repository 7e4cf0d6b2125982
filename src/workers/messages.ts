import type { z } from 'zod'
import type {
  Calibrate,
  CheckHeader,
  checkFailedSchema,
  classSchema,
  DispatchHeader,
  deltaSchema,
  FinishReason,
  failedSchema,
  fetchedSchema,
  fetchingSchema,
  Hello,
  kernelSchema,
  ModelOffered,
  Refusal,
  Room,
  refusedSchema,
  Token,
  TokenBatch,
  UsageClaim,
  Welcome,
} from '#protocol'
import { violation } from './refusals.ts'

/** What a worker says, decoded. `tokens` stands for both wire forms, with and without log probabilities. */
export type WorkerMessage =
  | { readonly say: 'hello'; readonly hello: Hello }
  | { readonly say: 'offer'; readonly hello: Hello }
  | { readonly say: 'heartbeat'; readonly active: number }
  | { readonly say: 'drain' }
  | { readonly say: 'room'; readonly room: Room }
  | ({ readonly say: 'fetching' } & z.infer<typeof fetchingSchema>)
  | ({ readonly say: 'fetched' } & z.infer<typeof fetchedSchema>)
  | { readonly say: 'tokens'; readonly stream: number; readonly tokens: TokenBatch }
  | ({ readonly say: 'delta' } & z.infer<typeof deltaSchema>)
  | { readonly say: 'vector'; readonly stream: number; readonly index: number; readonly values: Float32Array }
  | EndMessage
  | ({ readonly say: 'failed' } & z.infer<typeof failedSchema>)
  | { readonly say: 'committed'; readonly check: string; readonly commitment: Buffer }
  | { readonly say: 'evidence'; readonly check: string; readonly nonce: Buffer; readonly evidence: Buffer }
  | ({ readonly say: 'class' } & z.infer<typeof classSchema>)
  | ({ readonly say: 'checkFailed' } & z.infer<typeof checkFailedSchema>)

/** A worker's last word on a run that it computed. */
export interface EndMessage extends UsageClaim {
  readonly say: 'end'
  readonly stream: number
  readonly finish: FinishReason
  /** The signed `worker-statement/1` in wire form; null: the segment is not vouched for, and not paid. */
  readonly statement: Buffer | null
}

/** What a pool says, decoded. */
export type PoolMessage =
  | { readonly say: 'welcome'; readonly welcome: Welcome }
  | { readonly say: 'ping' }
  | { readonly say: 'refused'; readonly refused: z.infer<typeof refusedSchema> }
  | { readonly say: 'dispatch'; readonly header: DispatchHeader; readonly papers: Papers; readonly body: Buffer }
  | { readonly say: 'cancel'; readonly stream: number }
  | { readonly say: 'credit'; readonly stream: number; readonly bytes: number }
  | { readonly say: 'check'; readonly header: CheckHeader; readonly body: Buffer; readonly tokens: CommittedToken[] }
  | { readonly say: 'reveal' | 'withdraw'; readonly check: string }
  | { readonly say: 'calibrate'; readonly calibrate: Calibrate }
  | ({ readonly say: 'kernel' } & z.infer<typeof kernelSchema>)
  | { readonly say: 'offerModel'; readonly model: ModelOffered }
  | { readonly say: 'withdrawModel'; readonly offer: string }

/** A token of an answer that is looked at again. */
export type CommittedToken = Pick<Token, 'id' | 'piece'>

/** What a dispatch is justified with, as signed bytes in wire form. */
export interface Papers {
  readonly assignment: Buffer
  /** 32 bytes; opens the assignment's commitment to the HTTP body. */
  readonly salt: Buffer
  /** The payer's order, for workers that ask for it. */
  readonly order: Buffer | null
}

/** Of the salt in {@link Papers}. */
export const saltBytes = 32

/** Of an `end` before its statement. */
export const endHeadBytes = 13

/** A message, or why these bytes are none. Decoding never throws. */
export type Decoded<T> = { readonly ok: true; readonly message: T } | { readonly ok: false; readonly refusal: Refusal }

/** Bytes that are no message of this protocol; the refusal names the kind of message and quotes nothing of it. */
export function malformed(what: string, why: string): { readonly ok: false; readonly refusal: Refusal } {
  return { ok: false, refusal: violation(`The ${what} message ${why}.`) }
}
