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

/** `text[]`, and any type whose text form may hold anything: json, inet. */
export const texts = (values: readonly (string | null)[]): string => `{${values.map(quoted).join(',')}}`

/** `uuid[]`: nothing in a uuid needs a quote. */
export const uuids = (values: readonly (string | null)[]): string => `{${values.map((v) => v ?? 'null').join(',')}}`

/** `int[]`, `smallint[]`, `double precision[]`. */
export const numbers = (values: readonly (number | null)[]): string => `{${values.map((v) => v ?? 'null').join(',')}}`

/** `bigint[]`. */
export const bigints = (values: readonly (bigint | number | null)[]): string =>
  `{${values.map((v) => v ?? 'null').join(',')}}`

/** `boolean[]`. */
export const booleans = (values: readonly (boolean | null)[]): string =>
  `{${values.map((v) => (v === null ? 'null' : v ? 't' : 'f')).join(',')}}`

/** `bytea[]`. */
export const bytes = (values: readonly (Uint8Array | null)[]): string =>
  `{${values.map((v) => (v === null ? 'null' : `"\\\\x${Buffer.from(v.buffer, v.byteOffset, v.byteLength).toString('hex')}"`)).join(',')}}`
