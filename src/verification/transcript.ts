/** An answer as it is kept to be looked at again: what its worker was given, and what it committed to. */
export interface KeptAnswer {
  readonly kind: 'chat' | 'completion'
  readonly model: string
  /** Of the model file, hex; null for an upstream. */
  readonly digest: string | null
  readonly choice: number
  /** 32 bytes, hex. */
  readonly seed: string
  readonly maxTokens: number
  /** What its worker offered. */
  readonly contextTokens: number
  readonly decode: 'batched' | 'isolated'
  /** Kernel class of its worker, where the answer had to be of one. */
  readonly kernel?: string | undefined
  /** Its client let no other worker see it: only the pool's own may look. */
  readonly poolOnly?: boolean | undefined
  /** As its worker says; `cancelled` when the client left. */
  readonly finish: string
  /** Tokens of its prompt and of the segment, as claimed; null: nothing was claimed. */
  readonly promptClaim: number | null
  /** The raw HTTP body. */
  readonly body: Buffer
  /** From the first token of the choice on, segments of other workers included. */
  readonly tokens: readonly { readonly id: number; readonly piece: Buffer }[]
}

/** `u32 header length ‖ header JSON ‖ u32 body length ‖ body ‖ per token u32 id ‖ u16 length ‖ piece`. */
export function encodeAnswer({ body, tokens, ...header }: KeptAnswer): Buffer {
  const json = Buffer.from(JSON.stringify(header))
  const size = tokens.reduce((sum, { piece }) => sum + 6 + piece.length, 8 + json.length + body.length)
  const out = Buffer.allocUnsafe(size)
  let at = out.writeUInt32BE(json.length)
  at += json.copy(out, at)
  at = out.writeUInt32BE(body.length, at)
  at += body.copy(out, at)
  for (const { id, piece } of tokens) {
    at = out.writeUInt32BE(id, at)
    at = out.writeUInt16BE(piece.length, at)
    at += piece.copy(out, at)
  }
  return out
}

/** The inverse; only bytes of {@link encodeAnswer} come here, for they were authenticated. */
export function decodeAnswer(bytes: Buffer): KeptAnswer {
  let at = 0
  const take = (length: number) => {
    at += length
    return bytes.subarray(at - length, at)
  }
  const header = JSON.parse(take(take(4).readUInt32BE()).toString()) as Omit<KeptAnswer, 'body' | 'tokens'>
  const body = Buffer.from(take(take(4).readUInt32BE()))
  const tokens: { id: number; piece: Buffer }[] = []
  while (at < bytes.length) {
    const id = take(4).readUInt32BE()
    tokens.push({ id, piece: Buffer.from(take(take(2).readUInt16BE())) })
  }
  return { ...header, body, tokens }
}
