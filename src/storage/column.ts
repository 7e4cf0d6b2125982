/**
 * Columns as PostgreSQL array literals, for `unnest(${texts(names)}::text[], …)`: one parameter a column, whatever
 * the number of rows. postgres.js would infer the element's type for an array of bigints or buffers and be wrong.
 */
const plain = /^[A-Za-z_:./+=-][\w:./+=-]*$/

function quoted(text: string | null): string {
  if (text === null) return 'null'
  if (plain.test(text) && text.toLowerCase() !== 'null') return text
  return `"${text.replace(/[\\"]/g, '\\$&')}"`
}

/** In one piece: braces added to the whole would be another copy of it. */
function literal(items: string[]): string {
  const last = items.length - 1
  if (last < 0) return '{}'
  items[0] = `{${items[0]}`
  items[last] = `${items[last]}}`
  return items.join(',')
}

/** `text[]`, and any type whose text form may hold anything: json, inet. */
export const texts = (values: readonly (string | null)[]): string => literal(values.map(quoted))

/** `uuid[]`: nothing in a uuid needs a quote. */
export const uuids = (values: readonly (string | null)[]): string => literal(values.map((v) => v ?? 'null'))

/** `int[]`, `smallint[]`, `double precision[]`. */
export const numbers = (values: readonly (number | null)[]): string => literal(values.map((v) => `${v}`))

/** `bigint[]`. */
export const bigints = (values: readonly (bigint | number | null)[]): string => literal(values.map((v) => `${v}`))

/** `boolean[]`. */
export const booleans = (values: readonly (boolean | null)[]): string =>
  literal(values.map((v) => (v === null ? 'null' : v ? 't' : 'f')))

/** `bytea[]`. */
export const bytes = (values: readonly (Uint8Array | null)[]): string =>
  literal(values.map((v) => (v === null ? 'null' : `"\\\\x${asBuffer(v).toString('hex')}"`)))

const asBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
