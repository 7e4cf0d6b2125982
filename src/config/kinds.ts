import path from 'node:path'

/** How one setting's value is read. `parse` gives the value, or throws a sentence's end: "must be …".
 * `base` is the folder that relative paths start from. */
export interface Kind<T> {
  /** What stands after the flag in `--help`; undefined for a switch. */
  readonly placeholder: string | undefined
  readonly parse: (text: string, base: string) => T
  /** How a value is written, where that is not its plain text. */
  show?(value: T): string
  /** Only where there may be several. */
  readonly parseAll?: (values: readonly string[], base: string) => T
}

class Wrong extends Error {}

/** The end of the sentence a {@link Kind} refused with; anything else that was thrown is a breakage. */
export function wrongValue(error: unknown): string {
  if (error instanceof Wrong) return error.message
  throw error
}

export const text = (placeholder = 'text'): Kind<string> => ({
  placeholder,
  parse: (value) => {
    if (value === '') throw new Wrong('must not be empty')
    return value
  },
})

/** An amount such as `1000` or `0.5`, in micro-credits. */
export const credits: Kind<bigint> = {
  placeholder: 'credits',
  show: (micro) => String(Number(micro) / 1_000_000),
  parse: (value) => {
    const [, whole, part = ''] = /^(\d{1,12})(?:\.(\d{1,6}))?$/.exec(value) ?? []
    if (whole === undefined) throw new Wrong('must be an amount of credits, such as 1000 or 0.5')
    return BigInt(whole) * 1_000_000n + BigInt(part.padEnd(6, '0'))
  },
}

/** A file or folder, as an absolute path. */
export const file = (placeholder = 'path'): Kind<string> => ({
  placeholder,
  parse: (value, base) => path.resolve(base, text().parse(value, base)),
})

export const oneOf = <const V extends readonly string[]>(values: V): Kind<V[number]> => ({
  placeholder: values.join('|'),
  parse: (value) => {
    if (!values.includes(value)) throw new Wrong(`must be one of ${values.join(', ')}`)
    return value
  },
})

export const integer = (min: number, max: number, placeholder = 'n'): Kind<number> => ({
  placeholder,
  parse: (value) => {
    const number = /^\d+$/.test(value) ? Number(value) : Number.NaN
    if (!(number >= min && number <= max)) throw new Wrong(`must be a whole number from ${min} to ${max}`)
    return number
  },
})

const unitBytes = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 } as const

/** `500MiB`, `20GiB`, in bytes. */
export const bytes = (min: number, max: number): Kind<number> => ({
  placeholder: 'size',
  show: inByteUnits,
  parse: (value) => {
    const [, count, unit = ''] = /^(\d{1,7})(KiB|MiB|GiB|TiB)$/.exec(value) ?? []
    const size = Number(count) * (unitBytes[unit as keyof typeof unitBytes] ?? Number.NaN)
    if (!(size >= min && size <= max)) {
      throw new Wrong(`must be a size such as 500MiB or 20GiB, from ${inByteUnits(min)} to ${inByteUnits(max)}`)
    }
    return size
  },
})

function inByteUnits(size: number): string {
  const unit = (['TiB', 'GiB', 'MiB'] as const).find((name) => size % unitBytes[name] === 0) ?? 'KiB'
  return `${size / unitBytes[unit]}${unit}`
}

export const yesNo: Kind<boolean> = {
  placeholder: undefined,
  parse: (value) => {
    if (!['true', 'false', '1', '0'].includes(value)) throw new Wrong('must be true or false')
    return value === 'true' || value === '1'
  },
}

const unitMs = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** `90s`, `15m`, `12h`, `30d`, in milliseconds. */
export const duration = (minMs: number, maxMs: number): Kind<number> => ({
  placeholder: 'time',
  show: inUnits,
  parse: (value) => {
    const match = /^(\d+)([smhd])$/.exec(value)
    const ms = Number(match?.[1]) * unitMs[(match?.[2] ?? 's') as keyof typeof unitMs]
    if (!(ms >= minMs && ms <= maxMs)) {
      throw new Wrong(`must be a time such as 90s, 15m, 12h or 30d, from ${inUnits(minMs)} to ${inUnits(maxMs)}`)
    }
    return ms
  },
})

/** `30d` in milliseconds, from a second to ten years; undefined for anything else. */
export function parseDuration(value: string): number | undefined {
  try {
    return duration(1_000, 3_650 * unitMs.d).parse(value, '')
  } catch (error) {
    wrongValue(error)
    return undefined
  }
}

/** The shortest way to write a duration: 86,400,000 is `1d`. */
export function inUnits(ms: number): string {
  const unit = (['d', 'h', 'm'] as const).find((name) => ms % unitMs[name] === 0) ?? 's'
  return `${ms / unitMs[unit]}${unit}`
}

export const url = (protocols: readonly string[]): Kind<string> => ({
  placeholder: 'url',
  parse: (value) => {
    const parsed = URL.canParse(value) ? new URL(value) : undefined
    if (!parsed || !protocols.includes(parsed.protocol)) {
      throw new Wrong(`must be a URL that starts with ${protocols.map((protocol) => `${protocol}//`).join(' or ')}`)
    }
    return value.replace(/\/+$/, '')
  },
})

/** A page's origin, as browsers send it: scheme, host, and port where it is not the usual one. */
export const origin: Kind<string> = {
  placeholder: 'origin',
  parse: (value) => {
    const parsed = URL.canParse(value) ? new URL(value) : undefined
    if (parsed === undefined || parsed.origin !== value.replace(/\/$/, '')) {
      throw new Wrong('must be the origin of a page, such as https://app.example.org')
    }
    return parsed.origin
  },
}

const anyUrl = url(['http:', 'https:'])

/** `auto` or a URL, whose key is a setting of its own. */
export const urlOrAuto: Kind<string> = {
  placeholder: 'url|auto',
  parse: (value, base) => {
    if (value === 'auto') return value
    const url = anyUrl.parse(value, base)
    const { username, password } = new URL(url)
    if (username || password) throw new Wrong('must not hold a user or a password')
    return url
  },
}

/** Lowercase hex SHA-256 of a pool's public key. */
export const poolId: Kind<string> = {
  placeholder: 'pool id',
  parse: (value) => {
    if (!/^[0-9a-f]{64}$/.test(value)) throw new Wrong('must be the id of a pool: 64 digits, 0 to 9 and a to f')
    return value
  },
}

/** A host as URLs have it: with its port, unless that is 80. */
export const httpHost: Kind<string> = {
  placeholder: 'host',
  parse: (value) => {
    const { host, href } = URL.canParse(`http://${value}`) ? new URL(`http://${value}`) : { host: '', href: '' }
    if (host === '' || href !== `http://${host}/` || /[/?#@\s]/.test(value)) {
      throw new Wrong('must be a host with its port, such as pool.lan:5424')
    }
    return host
  },
}

/** `node:net`'s, loaded only when asked: it would make every small command slower. */
export const isIP = (address: string): number => process.getBuiltinModule('node:net').isIP(address)

/** An address or a network in CIDR form. */
export const network: Kind<string> = {
  placeholder: 'address',
  parse: (value) => {
    const [address = '', bits, ...rest] = value.split('/')
    const widest = isIP(address) === 6 ? 128 : 32
    const known = isIP(address) !== 0 && rest.length === 0
    if (!known || (bits !== undefined && !(/^\d{1,3}$/.test(bits) && Number(bits) <= widest))) {
      throw new Wrong('must be an address or network, such as 10.0.0.2 or 10.0.0.0/8')
    }
    return value
  },
}

/** Several: separated by commas in the environment, an array in `lichen.toml`, a flag that may be repeated. */
/** `small=moss|fern`: a tier's name, and its models, preferred ones first. */
export const tier: Kind<{ readonly name: string; readonly models: readonly string[] }> = {
  placeholder: 'name=model|model',
  parse: (value) => {
    const [name = '', models = '', ...more] = value.split('=')
    const names = models.split('|')
    if (name === '' || more.length > 0 || names.includes(''))
      throw new Wrong('must be a name and models: name=model|model')
    return { name, models: names }
  },
  show: ({ name, models }) => `${name}=${models.join('|')}`,
}

export const listOf = <T>(kind: Kind<T>): Kind<readonly T[]> => ({
  placeholder: kind.placeholder,
  parse: (value, base) => value.split(',').map((part) => kind.parse(part.trim(), base)),
  parseAll: (values, base) => values.map((value) => kind.parse(value, base)),
})
