import { createCipheriv, createDecipheriv, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { z } from 'zod'
import type { Runtime } from '#runtime'
import { apiLimits } from '../limits.ts'

/** Who is logged in at the page, as the cookie carries it. */
export interface Session {
  /** The owner's key or an API key: asked anew for every request, so that a revoked one is out at once. */
  readonly key: string
  /** Stands in every form of this session. */
  readonly token: string
  /** Milliseconds since 1970. */
  readonly until: number
}

const cookieName = 'lichen_admin'
const sessionSchema = z.strictObject({ key: z.string(), token: z.string(), until: z.number() })

/**
 * Sessions of the page, sealed (AES-256-GCM) in a cookie that no script can read and no other site can send. Nothing is kept here, so every
 * process of the pool knows every session.
 */
export class Sessions {
  readonly #secret: Buffer
  readonly #runtime: Pick<Runtime, 'now' | 'randomBytes'>
  readonly #attributes: string

  /** `secret`: 32 bytes that nobody but this pool knows. `secure`: the page is reached over TLS. */
  constructor(secret: Buffer, runtime: Pick<Runtime, 'now' | 'randomBytes'>, secure: boolean) {
    this.#secret = secret
    this.#runtime = runtime
    this.#attributes = `Path=/admin/pool; HttpOnly; SameSite=Strict${secure ? '; Secure' : ''}`
  }

  /** The cookie of a new session. */
  begin(key: string): string {
    const session: Session = {
      key,
      token: this.#runtime.randomBytes(18).toString('base64url'),
      until: this.#runtime.now() + apiLimits.pageSessionMs,
    }
    const nonce = this.#runtime.randomBytes(12)
    const cipher = createCipheriv('aes-256-gcm', this.#secret, nonce)
    const sealed = Buffer.concat([cipher.update(JSON.stringify(session), 'utf8'), cipher.final()])
    const value = Buffer.concat([nonce, sealed, cipher.getAuthTag()]).toString('base64url')
    return `${cookieName}=${value}; Max-Age=${apiLimits.pageSessionMs / 1_000}; ${this.#attributes}`
  }

  /** The cookie that ends one. */
  end(): string {
    return `${cookieName}=; Max-Age=0; ${this.#attributes}`
  }

  /** The session of a request; undefined where there is none, or it is over. */
  of({ cookie = '' }: IncomingHttpHeaders): Session | undefined {
    const value = new RegExp(`(?:^|; )${cookieName}=([A-Za-z0-9_-]{40,2000})(?:;|$)`).exec(cookie)?.[1]
    const session = value === undefined ? undefined : this.#unseal(Buffer.from(value, 'base64url'))
    return session && session.until > this.#runtime.now() ? session : undefined
  }

  #unseal(bytes: Buffer): Session | undefined {
    try {
      const decipher = createDecipheriv('aes-256-gcm', this.#secret, bytes.subarray(0, 12), { authTagLength: 16 })
      decipher.setAuthTag(bytes.subarray(-16))
      const text = Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()])
      return sessionSchema.parse(JSON.parse(text.toString('utf8')))
    } catch {
      return undefined
    }
  }
}

/** Whether a form was filled in on our own page: what the browser says of its origin, and the session's token. */
export function isOwnForm(headers: IncomingHttpHeaders, form: URLSearchParams, session: Session): boolean {
  const [given, wanted] = [Buffer.from(form.get('token') ?? ''), Buffer.from(session.token)]
  return isSameOrigin(headers) && given.length === wanted.length && timingSafeEqual(given, wanted)
}

/** Every browser sends one of the two with a form; one that sends neither is none that another site could drive. */
export function isSameOrigin({ origin, host, 'sec-fetch-site': site }: IncomingHttpHeaders): boolean {
  if (site !== undefined && site !== 'same-origin') return false
  if (origin === undefined) return true
  return URL.canParse(origin) && new URL(origin).host === host
}
