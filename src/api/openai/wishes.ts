import type { AcceptedRequest, AssuranceWish } from '#jobs'
import {
  type AssuranceLevel,
  assuranceHeader,
  assuranceLevels,
  type ChatRequest,
  type CompletionRequest,
  choicesOf,
  type OpenAiKind,
  type OpenAiRequests,
  type OrderHeader,
  PoolError,
  type PrivacyMode,
  privacyHeader,
  privacyModes,
} from '#protocol'
import type { Client } from '../deps.ts'

/** Where a request can say how it is checked and who may see it. */
export interface Said {
  /** Of the headers, as they came. */
  readonly assurance: string | undefined
  readonly privacy: string | undefined
  readonly client: Pick<Client, 'assurance' | 'privacy'>
  readonly order: OrderHeader | undefined
}

/** What it comes to. */
export type Wishes = Required<Pick<AcceptedRequest, 'assurance' | 'privacy'>> & Pick<AcceptedRequest, 'seed'>

/**
 * Header and body say what they want, which must not contradict each other; else the order does, when it insists; else the key.
 * @throws PoolError invalid_request, unsupported_parameter.
 */
export function wishesOf<K extends OpenAiKind>(kind: K, request: OpenAiRequests[K], said: Said): Wishes {
  const assurance = assuranceOf(request.assurance ?? undefined, said)
  const privacy = oneOf(privacyHeader, said.privacy, privacyModes) ?? said.client.privacy
  const { level } = assurance
  if (level === 'required' || level === 'deterministic') refuseCompany(level, kind, privacy)
  if (level === 'deterministic') refuseDice(request as ChatRequest | CompletionRequest)
  if (privacy === 'single-exposure' && choicesOf(kind, request) > 1) {
    const message = 'Several choices may be computed by several workers, and `single-exposure` allows one.'
    throw new PoolError('invalid_request', message, 'Ask for one choice of one prompt.', { param: 'n' })
  }
  const seed = 'seed' in request ? (request.seed ?? undefined) : undefined
  return { assurance, privacy, seed: level === 'deterministic' ? (seed ?? 0) : seed }
}

function assuranceOf(inBody: AssuranceLevel | undefined, { assurance, client, order }: Said): AssuranceWish {
  const inHeader = oneOf(assuranceHeader, assurance, assuranceLevels)
  if (inHeader && inBody && inHeader !== inBody) {
    const message = `The header \`${assuranceHeader}\` asks for \`${inHeader}\`, and 'assurance' for \`${inBody}\`.`
    throw new PoolError('invalid_request', message, 'Say it once.', { param: 'assurance' })
  }
  const asked = inHeader ?? inBody ?? client.assurance
  if (asked) return { level: asked, explicit: true }
  const ordered = order?.order.message.assurance ?? 'sampled'
  return { level: ordered, explicit: ordered === 'required' || ordered === 'deterministic' }
}

/** The header's value, if there is one. */
function oneOf<T extends string>(header: string, value: string | undefined, all: readonly T[]): T | undefined {
  if (value === undefined) return undefined
  const found = all.find((one) => one === value)
  if (found) return found
  throw new PoolError('invalid_request', `Invalid value for the header \`${header}\`.`, `Say one of ${all.join(', ')}.`)
}

/** What cannot be computed by several workers side by side. */
function refuseCompany(level: AssuranceLevel, kind: OpenAiKind, privacy: PrivacyMode): void {
  const param = 'assurance'
  if (kind === 'embedding') {
    const message = `The assurance \`${level}\` is for text; embeddings are not compared.`
    throw new PoolError('unsupported_parameter', message, 'Ask for `sampled` or `none`.', { param })
  }
  if (privacy !== 'single-exposure') return
  const message = `The assurance \`${level}\` needs a second worker that sees the prompt, and \`single-exposure\` allows none.`
  throw new PoolError('invalid_request', message, 'Give up one of the two.', { param })
}

/** `deterministic` is temperature 0: whatever is drawn by chance is not. The seed is fixed where none is sent. */
function refuseDice(request: ChatRequest | CompletionRequest): void {
  if (request.temperature === 0) return
  const message = 'The assurance `deterministic` is for answers without chance: it needs the temperature 0.'
  throw new PoolError('unsupported_parameter', message, 'Send "temperature": 0, or ask for `required`.', {
    param: 'temperature',
  })
}
