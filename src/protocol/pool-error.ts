import { type RefusalCode, refusalCodes } from './codes.ts'

/** A "no" the other side may legitimately be told: stable code, one sentence, and what to do about it. */
export interface Refusal {
  readonly code: RefusalCode
  /** One sentence: what is wrong. */
  readonly message: string
  /** One sentence: what to do. */
  readonly fix: string
  /** The offending request field, where there is one. */
  readonly param?: string
  /** When trying again makes sense, milliseconds from now. */
  readonly retryAfterMs?: number
  /** The same request will be refused again, whenever it comes. */
  readonly final?: true
}

/** A refusal on its way up. Carries no prompt, reply or secret. */
export class PoolError extends Error {
  override readonly name = 'PoolError'
  readonly refusal: Refusal

  constructor(
    code: RefusalCode,
    message: string,
    fix: string,
    more: Pick<Refusal, 'param' | 'retryAfterMs' | 'final'> = {},
  ) {
    super(message)
    this.refusal = { code, message, fix, ...more }
  }

  static from(refusal: Refusal): PoolError {
    return new PoolError(refusal.code, refusal.message, refusal.fix, {
      ...(refusal.param === undefined ? {} : { param: refusal.param }),
      ...(refusal.retryAfterMs === undefined ? {} : { retryAfterMs: refusal.retryAfterMs }),
      ...(refusal.final ? { final: true } : {}),
    })
  }

  get code(): RefusalCode {
    return this.refusal.code
  }

  get status(): number {
    return refusalCodes[this.refusal.code].status
  }
}

/** The OpenAI error envelope: `{"error":{"message","type","param","code"}}`. */
export function toOpenAiError(refusal: Refusal): {
  error: { message: string; type: string; param: string | null; code: string }
} {
  return {
    error: {
      message: `${refusal.message} ${refusal.fix}`,
      type: refusalCodes[refusal.code].type,
      param: refusal.param ?? null,
      code: refusal.code,
    },
  }
}
