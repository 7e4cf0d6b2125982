import { type DispatchHeader, type Hello, messageType, type Token } from '#protocol'
import type { SecureSession } from '#transport'
import { decodePoolMessage, encodeEnd, encodeHeartbeat, encodeHello, encodeTokens, type PoolMessage } from '#workers'

const demoHello: Hello = {
  agent: 'raw/1',
  features: [],
  slots: 2,
  models: [
    { name: 'demo', digest: 'ab'.repeat(32), engine: 'llama', contextTokens: 2_048, features: ['chat', 'resume'] },
  ],
}

/** A worker played by hand: it says exactly what a test tells it to, and remembers what the pool said. */
export class RawWorker {
  readonly session: SecureSession
  readonly heard: PoolMessage[] = []
  /** Whether pings are answered. */
  awake = true

  constructor(session: SecureSession) {
    this.session = session
    session.onMessage = (type, body) => {
      const decoded = decodePoolMessage(type, body)
      if (!decoded.ok) throw new Error(`the pool said nonsense: ${decoded.refusal.message}`)
      this.heard.push(decoded.message)
      if (decoded.message.say === 'ping' && this.awake) this.beat()
    }
  }

  hello(more: Partial<Hello> = {}): this {
    this.session.send(messageType.hello, encodeHello({ ...demoHello, ...more }))
    return this
  }

  beat(): void {
    this.session.send(messageType.heartbeat, encodeHeartbeat(0))
  }

  tokens(stream: number, ...texts: string[]): void {
    const tokens: Token[] = texts.map((text, id) => ({ id, piece: Buffer.from(text) }))
    this.session.send(messageType.tokens, encodeTokens(stream, tokens))
  }

  end(
    stream: number,
    claims: { promptTokens?: number; completionTokens?: number; statement?: Buffer | null } = {},
  ): void {
    const end = { stream, finish: 'stop', promptTokens: 1, completionTokens: 1, statement: null, ...claims } as const
    this.session.send(messageType.end, encodeEnd(end))
  }

  /** Messages of one kind, oldest first. */
  all<S extends PoolMessage['say']>(say: S): Extract<PoolMessage, { say: S }>[] {
    return this.heard.filter((message): message is Extract<PoolMessage, { say: S }> => message.say === say)
  }

  get dispatched(): DispatchHeader[] {
    return this.all('dispatch').map((message) => message.header)
  }

  /** Code of the refusal the pool gave, if it did. */
  get refusedWith(): string | undefined {
    return this.all('refused')[0]?.refused.code
  }
}
