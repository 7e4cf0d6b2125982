/**
 * Writes GGUF v3: header, metadata, tensor table, then each tensor on a 32-byte boundary, all little-endian.
 * Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 */
import { writeFileSync } from 'node:fs'

/** A metadata value with its GGUF type. */
export type GgufValue =
  | { type: 'u32' | 'i32' | 'f32'; value: number }
  | { type: 'bool'; value: boolean }
  | { type: 'string'; value: string }
  | { type: 'i32[]' | 'f32[]'; value: readonly number[] }
  | { type: 'string[]'; value: readonly string[] }

export type TensorType = 'f32' | 'f16' | 'q8_0'

export interface GgufTensor {
  name: string
  /** Innermost first, as GGUF lists them: a matrix from n inputs to m outputs is `[n, m]`. */
  dims: readonly number[]
  type: TensorType
  /** Row by row; their number is the product of `dims`. */
  values: Float32Array
}

const alignment = 32
const valueTypes = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 } as const
const tensorTypes = { f32: 0, f16: 1, q8_0: 8 } as const

/** Values of a Q8_0 block that share one scale. */
const q8BlockValues = 32

/**
 * Writes the file, replacing one that is there.
 * @throws RangeError when a tensor's values do not fill its dimensions, or its rows do not fill Q8_0 blocks of 32
 */
export function writeGguf(path: string, metadata: Record<string, GgufValue>, tensors: readonly GgufTensor[]): void {
  const entries = Object.entries(metadata)
  const blobs = tensors.map((tensor) => padded(tensorBytes(tensor)))
  let offset = 0
  const table = tensors.map((tensor, i) => {
    const row = [
      packString(tensor.name),
      packNumber('u32', tensor.dims.length),
      ...tensor.dims.map(packU64),
      packNumber('u32', tensorTypes[tensor.type]),
      packU64(offset),
    ]
    offset += blobs[i]?.length ?? 0
    return Buffer.concat(row)
  })
  const head = [Buffer.from('GGUF'), packNumber('u32', 3), packU64(tensors.length), packU64(entries.length)]
  const pairs = entries.map(([key, value]) => Buffer.concat([packString(key), packValue(value)]))
  writeFileSync(path, Buffer.concat([padded(Buffer.concat([...head, ...pairs, ...table])), ...blobs]))
}

function packValue(entry: GgufValue): Buffer {
  switch (entry.type) {
    case 'string':
      return Buffer.concat([packNumber('u32', valueTypes.string), packString(entry.value)])
    case 'bool':
      return Buffer.concat([packNumber('u32', valueTypes.bool), Buffer.from([entry.value ? 1 : 0])])
    case 'string[]':
      return packArray('string', entry.value.map(packString))
    case 'i32[]':
      return packArray(
        'i32',
        entry.value.map((item) => packNumber('i32', item)),
      )
    case 'f32[]':
      return packArray(
        'f32',
        entry.value.map((item) => packNumber('f32', item)),
      )
    default:
      return Buffer.concat([packNumber('u32', valueTypes[entry.type]), packNumber(entry.type, entry.value)])
  }
}

function packArray(itemType: keyof typeof valueTypes, items: readonly Buffer[]): Buffer {
  const head = [packNumber('u32', valueTypes.array), packNumber('u32', valueTypes[itemType]), packU64(items.length)]
  return Buffer.concat([...head, ...items])
}

function packNumber(type: 'u32' | 'i32' | 'f32', value: number): Buffer {
  const bytes = Buffer.alloc(4)
  if (type === 'u32') bytes.writeUInt32LE(value)
  else if (type === 'i32') bytes.writeInt32LE(value)
  else bytes.writeFloatLE(value)
  return bytes
}

function packU64(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}

function packString(text: string): Buffer {
  const bytes = Buffer.from(text)
  return Buffer.concat([packU64(bytes.length), bytes])
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((alignment - (bytes.length % alignment)) % alignment)])
}

function tensorBytes({ name, dims, type, values }: GgufTensor): Buffer {
  const count = dims.reduce((product, dim) => product * dim, 1)
  if (values.length !== count) throw new RangeError(`${name} has ${values.length} values for dimensions ${dims}`)
  if (type === 'q8_0') {
    if ((dims[0] ?? 0) % q8BlockValues !== 0) throw new RangeError(`${name}: a Q8_0 row must be a multiple of 32`)
    return q8Bytes(values)
  }
  const width = type === 'f32' ? 4 : 2
  const bytes = Buffer.alloc(count * width)
  values.forEach((value, i) => {
    if (type === 'f32') bytes.writeFloatLE(value, i * width)
    else bytes.writeUInt16LE(halfBits(value), i * width)
  })
  return bytes
}

/** Q8_0: for each 32 values a half-precision scale, then 32 signed bytes. */
function q8Bytes(values: Float32Array): Buffer {
  const blockBytes = 2 + q8BlockValues
  const bytes = Buffer.alloc((values.length / q8BlockValues) * blockBytes)
  for (let block = 0; block * q8BlockValues < values.length; block += 1) {
    const part = values.subarray(block * q8BlockValues, (block + 1) * q8BlockValues)
    const scale = part.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127
    bytes.writeUInt16LE(halfBits(scale), block * blockBytes)
    part.forEach((value, i) => {
      bytes.writeInt8(scale === 0 ? 0 : Math.round(value / scale), block * blockBytes + 2 + i)
    })
  }
  return bytes
}

const scratch = new DataView(new ArrayBuffer(4))

/** The bits of the nearest half-precision number (IEEE 754 binary16), ties to even; too large becomes infinity. */
export function halfBits(value: number): number {
  scratch.setFloat32(0, value)
  const bits = scratch.getUint32(0)
  const sign = (bits >>> 16) & 0x8000
  const magnitude = bits & 0x7fffffff
  if (magnitude > 0x7f800000) return sign | 0x7e00
  if (magnitude >= 0x47800000) return sign | 0x7c00
  if (magnitude < 0x38800000) return sign | toEven(Math.abs(value) * 2 ** 24)
  return sign | toEven((magnitude - 0x38000000) / 2 ** 13)
}

function toEven(value: number): number {
  const floor = Math.floor(value)
  const rest = value - floor
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor
}
