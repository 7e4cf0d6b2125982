import postgres from 'postgres'
import { bigints, texts } from './column.ts'

const toMs = (text: string) => Date.parse(text)
const toBytes = (text: string) => Buffer.from(text.slice(2), 'hex')

/**
 * One item of an array literal (PostgreSQL documentation §8.15.6): quoted with backslash escapes, or bare. One
 * dimension: nothing here stores more.
 */
const item = /"((?:[^"\\]|\\.)*)"|([^{},]+)/gs

function readArray<T>(text: string, read: (item: string) => T): (T | null)[] {
  return [...text.matchAll(item)].map(([, quoted, bare]) => {
    if (quoted !== undefined) return read(quoted.replace(/\\(.)/gs, '$1'))
    return bare === undefined || bare === 'NULL' ? null : read(bare)
  })
}

/** An array parameter; text that is a literal already passes. */
const writeArray = (value: string | readonly (string | number | bigint | null)[]): string => {
  if (typeof value === 'string') return value
  return value.every((one) => typeof one !== 'string')
    ? bigints(value as (bigint | number | null)[])
    : texts(value.map((one) => (one === null ? null : String(one))))
}

const arrayOf = <T>(from: readonly number[], read: (item: string) => T) => ({
  to: from[0] ?? 0,
  from: [...from],
  serialize: writeArray,
  parse: (text: string) => readArray(text, read),
})

/** How values travel, by the type's object id (pg_type.dat): postgres.js's defaults, and these. */
export const valueTypes = {
  bigint: postgres.BigInt,
  timestamp: {
    to: 1184,
    from: [1184],
    serialize: (value: number | string | Date) => new Date(value).toISOString(),
    parse: toMs,
  },
  // text, varchar, uuid
  texts: arrayOf([1009, 1015, 2951], (text) => text),
  // int2, int4, float4, float8
  numbers: arrayOf([1007, 1005, 1021, 1022], Number),
  bigints: arrayOf([1016], BigInt),
  booleans: arrayOf([1000], (text) => text === 't'),
  bytes: arrayOf([1001], toBytes),
  timestamps: arrayOf([1185], toMs),
}
