/**
 * SHA-256 (FIPS 180-4) of short messages in WebAssembly. `node:crypto` spends most of its time on a short message in making a hash object,
 * checking arguments and carrying the digest over as a string or Buffer; the path of one message in a batch of 64 is six such hashes. Here the
 * messages lie in one memory, digests are written where the next message wants them, and nothing is allocated.
 *
 * The module is assembled below from the standard's own description, when it is first used: there is no binary to trust.
 */

/** Messages of more bytes are hashed faster by `node:crypto`, whose code knows the processor's own instructions. */
export const shortBytesMax = 247

const blockBytes = 64
/** What a message and its padding take: 4 blocks. */
const roomBytes = 4 * blockBytes
const digestBytes = 32
/** One page of WebAssembly's memory. */
const pageBytes = 65_536

export interface Sha256Engine {
  /** Its memory, in which each user has a place of its own, see {@link takeRoom}. */
  readonly bytes: Buffer
  /** The same memory. */
  readonly words: Int32Array
  /** The digest of the `length` bytes at `from` is written to `to`. What lies behind the message, up to 4 blocks, is overwritten. */
  digest(from: number, length: number, to: number): void
}

/** What is used of it; the compiler's libraries know WebAssembly only together with a browser. */
const webAssembly = (
  globalThis as unknown as {
    WebAssembly: {
      readonly Module: new (bytes: Uint8Array) => object
      readonly Instance: new (module: object) => { readonly exports: unknown }
    }
  }
).WebAssembly

let engine: Sha256Engine | undefined
/** What lies below is taken. */
let taken = 0

/** Room for one message of {@link shortBytesMax} and `bytes` more behind it; the caller's for good. */
export function takeRoom(bytes: number = digestBytes): number {
  const at = taken
  taken += roomBytes + Math.ceil(bytes / blockBytes) * blockBytes
  if (taken > pageBytes) throw new RangeError('the memory of the hash engine is used up')
  return at
}

export function sha256Engine(): Sha256Engine {
  engine ??= openEngine()
  return engine
}

function openEngine(): Sha256Engine {
  const { exports } = new webAssembly.Instance(new webAssembly.Module(assemble()))
  // as `assemble` exports them
  const { memory, run } = exports as {
    memory: { buffer: ArrayBuffer }
    run(from: number, end: number, to: number): void
  }
  const bytes = new Uint8Array(memory.buffer)
  return {
    bytes: Buffer.from(memory.buffer),
    words: new Int32Array(memory.buffer),
    digest(from, length, to) {
      // 0x80, zeros, and the length in bits as u64be, of which two bytes suffice
      const end = from + ((length + 8) & -blockBytes) + blockBytes
      let at = from + length
      bytes[at++] = 0x80
      while (at < end) bytes[at++] = 0
      bytes[end - 2] = length >> 5
      bytes[end - 1] = length << 3
      run(from, end, to)
    },
  }
}

// ── the module ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** FIPS 180-4 §5.3.3. */
const initial = wordsOf('6a09e667bb67ae853c6ef372a54ff53a510e527f9b05688c1f83d9ab5be0cd19')

/** FIPS 180-4 §4.2.2. */
const constants = wordsOf(
  '428a2f9871374491b5c0fbcfe9b5dba53956c25b59f111f1923f82a4ab1c5ed5d807aa9812835b01243185be550c7dc372be5d7480deb1fe9bdc06a7c19bf174' +
    'e49b69c1efbe47860fc19dc6240ca1cc2de92c6f4a7484aa5cb0a9dc76f988da983e5152a831c66db00327c8bf597fc7c6e00bf3d5a7914706ca635114292967' +
    '27b70a852e1b21384d2c6dfc53380d13650a7354766a0abb81c2c92e92722c85a2bfe8a1a81a664bc24b8b70c76c51a3d192e819d6990624f40e3585106aa070' +
    '19a4c1161e376c082748774c34b0bcb5391c0cb34ed8aa4a5b9cca4f682e6ff3748f82ee78a5636f84c878148cc7020890befffaa4506cebbef9a3f7c67178f2',
)

function wordsOf(hex: string): number[] {
  return Array.from({ length: hex.length / 8 }, (_, n) => Number.parseInt(hex.slice(8 * n, 8 * n + 8), 16) | 0)
}

/** Writes instructions, as bytes of WebAssembly's binary format (core specification 1.0, §5). */
type Code = (out: number[]) => void

const opcode = {
  loop: 0x03,
  end: 0x0b,
  branchIf: 0x0d,
  get: 0x20,
  set: 0x21,
  tee: 0x22,
  load: 0x28,
  store: 0x36,
  constant: 0x41,
  lessThan: 0x49,
  add: 0x6a,
  and: 0x71,
  or: 0x72,
  xor: 0x73,
  shiftRight: 0x76,
  rotateRight: 0x78,
}
const i32 = 0x7f
const noResult = 0x40

const bytes =
  (...given: readonly number[]): Code =>
  (out) => {
    out.push(...given)
  }
const all =
  (...parts: readonly Code[]): Code =>
  (out) => {
    for (const part of parts) part(out)
  }
const times = (count: number, code: (n: number) => Code) => all(...Array.from({ length: count }, (_, n) => code(n)))
const get = (local: number) => bytes(opcode.get, local)
const set = (local: number, value: Code) => all(value, bytes(opcode.set, local))
const constant = (value: number) => bytes(opcode.constant, ...signed(value))
const op = (code: number, first: Code, ...rest: readonly Code[]) =>
  all(first, ...rest.map((next) => all(next, bytes(code))))
const add = (first: Code, ...rest: readonly Code[]) => op(opcode.add, first, ...rest)
const and = (first: Code, second: Code) => op(opcode.and, first, second)
const xor = (first: Code, ...rest: readonly Code[]) => op(opcode.xor, first, ...rest)
const rotated = (value: Code, bits: number) => op(opcode.rotateRight, value, constant(bits))
const shifted = (value: Code, bits: number) => op(opcode.shiftRight, value, constant(bits))
const load = (address: Code, offset: number) => all(address, bytes(opcode.load, 0, offset))
const store = (address: Code, offset: number, value: Code) => all(address, value, bytes(opcode.store, 0, offset))

/** Memory is little-endian, the standard is not. */
const swapped = (local: number) =>
  op(
    opcode.or,
    and(rotated(get(local), 24), constant(0x00ff00ff)),
    and(rotated(get(local), 8), constant(0xff00ff00 | 0)),
  )

/** LEB128. */
function unsigned(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)]
}

function signed(value: number): number[] {
  const last = value >= -0x40 && value < 0x40
  return last ? [value & 0x7f] : [(value & 0x7f) | 0x80, ...signed(value >> 7)]
}

/** The locals of `run`: its arguments, the hash so far, the working variables, sixteen words of the schedule. */
const [from, end, to, hashAt, variableAt, wordAt] = [0, 1, 2, 3, 11, 19] as const
const localsBesideArguments = 32

const word = (n: number) => wordAt + (n & 15)

/** FIPS 180-4 §6.2.2 for one round; the variables change their names instead of their places. */
function round(n: number): Code {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = Array.from(
    { length: 8 },
    (_, name) => variableAt + ((name - n) & 7),
  )
  const bigSigma = (x: number, i: number, j: number, k: number) =>
    xor(rotated(get(x), i), rotated(get(x), j), rotated(get(x), k))
  const smallSigma = (x: number, i: number, j: number, k: number) =>
    xor(rotated(get(x), i), rotated(get(x), j), shifted(get(x), k))
  const choice = xor(get(g), and(get(e), xor(get(f), get(g))))
  const majority = xor(and(get(a), get(b)), and(get(c), xor(get(a), get(b))))
  const schedule =
    n < 16
      ? bytes()
      : set(
          word(n),
          add(get(word(n)), smallSigma(word(n + 1), 7, 18, 3), get(word(n + 9)), smallSigma(word(n + 14), 17, 19, 10)),
        )
  const first = add(get(h), bigSigma(e, 6, 11, 25), choice, constant(constants[n] ?? 0), get(word(n)))
  return all(
    schedule,
    set(h, first),
    set(d, add(get(d), get(h))),
    set(h, add(get(h), bigSigma(a, 2, 13, 22), majority)),
  )
}

/** `run(from, end, to)`: the whole blocks from `from` to `end`, at least one; the digest goes to `to`. */
const run = () =>
  all(
    times(8, (n) => set(hashAt + n, constant(initial[n] ?? 0))),
    bytes(opcode.loop, noResult),
    times(16, (n) => all(set(word(n), load(get(from), 4 * n)), set(word(n), swapped(word(n))))),
    times(8, (n) => set(variableAt + n, get(hashAt + n))),
    times(64, round),
    times(8, (n) => set(hashAt + n, add(get(hashAt + n), get(variableAt + n)))),
    add(get(from), constant(blockBytes)),
    bytes(opcode.tee, from),
    get(end),
    bytes(opcode.lessThan, opcode.branchIf, 0, opcode.end),
    times(8, (n) => store(get(to), 4 * n, swapped(hashAt + n))),
    bytes(opcode.end),
  )

function assemble(): Uint8Array {
  const out: number[] = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]
  const sized = (content: Code): Code => {
    const inside: number[] = []
    content(inside)
    return (to) => {
      to.push(...unsigned(inside.length))
      for (const byte of inside) to.push(byte)
    }
  }
  const vector = (...items: readonly Code[]) => all(bytes(...unsigned(items.length)), ...items)
  const section = (id: number, content: Code) => all(bytes(id), sized(content))(out)
  const name = (text: string) => sized(bytes(...Buffer.from(text)))
  const type = bytes(i32)
  section(1, vector(all(bytes(0x60), vector(type, type, type), vector())))
  section(3, vector(bytes(0)))
  section(5, vector(bytes(0x00, 1)))
  section(7, vector(all(name('memory'), bytes(0x02, 0)), all(name('run'), bytes(0x00, 0))))
  section(10, vector(sized(all(vector(bytes(localsBesideArguments, i32)), run()))))
  return Uint8Array.from(out)
}
