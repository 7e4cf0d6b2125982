/** Why a public key is refused. */
export type KeyRefusal = 'wrong_length' | 'non_canonical' | 'not_on_curve' | 'small_order' | 'torsion'

/** A point in extended coordinates (RFC 8032 §5.1.4): x = X/Z, y = Y/Z, x·y = T/Z. */
type Point = readonly [X: bigint, Y: bigint, Z: bigint, T: bigint]

/** Field, curve constant, √−1 and group order (RFC 8032 §5.1). */
const p = 2n ** 255n - 19n
const d = 37095705934669439343138083508754565189542113879843219016388785533085940283555n
const sqrtMinusOne = 19681161376707505956807079304988542015446066515923890162744021073123829784752n
const groupOrder = (2n ** 252n + 27742317777372353535851937790883648493n).toString(2)
const low255 = 2n ** 255n - 1n

/** A number congruent to `v` mod p of about 255 bits (2^255 = 19); it may be slightly negative or above p. */
function reduce(v: bigint): bigint {
  const once = (v & low255) + 19n * (v >> 255n)
  return (once & low255) + 19n * (once >> 255n)
}

/** The one representative of `v` in 0 … p − 1. */
function canonical(v: bigint): bigint {
  const rest = v % p
  return rest < 0n ? rest + p : rest
}

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n
  for (const bit of exponent.toString(2)) {
    result = reduce(result * result)
    if (bit === '1') result = reduce(result * base)
  }
  return result
}

/** RFC 8032 §5.1.3; an encoding that is not the only one of its point is told apart. */
function decode(raw: Buffer): Point | KeyRefusal {
  const encoded = BigInt(`0x${Buffer.from(raw).reverse().toString('hex')}`)
  const y = encoded & low255
  const sign = encoded >> 255n
  if (y >= p) return 'non_canonical'
  const u = reduce(y * y - 1n)
  const v = reduce(d * y * y + 1n)
  const v3 = reduce(reduce(v * v) * v)
  const v7 = reduce(reduce(v3 * v3) * v)
  let x = canonical(u * v3 * power(reduce(u * v7), (p - 5n) / 8n))
  const square = canonical(v * x * x)
  if (square !== canonical(u)) {
    if (square !== canonical(-u)) return 'not_on_curve'
    x = canonical(x * sqrtMinusOne)
  }
  if (x === 0n && sign === 1n) return 'non_canonical'
  if ((x & 1n) !== sign) x = p - x
  return [x, y, 1n, reduce(x * y)]
}

/** dbl-2008-hwcd for a = −1 (RFC 8032 §5.1.4). */
function double([X, Y, Z]: Point): Point {
  const a = reduce(X * X)
  const b = reduce(Y * Y)
  const h = a + b
  const e = h - reduce((X + Y) * (X + Y))
  const g = a - b
  const f = 2n * reduce(Z * Z) + g
  return [reduce(e * f), reduce(g * h), reduce(f * g), reduce(e * h)]
}

/** add-2008-hwcd-3 (RFC 8032 §5.1.4). */
function add([X1, Y1, Z1, T1]: Point, [X2, Y2, Z2, T2]: Point): Point {
  const a = reduce((Y1 - X1) * (Y2 - X2))
  const b = reduce((Y1 + X1) * (Y2 + X2))
  const c = reduce(reduce(2n * T1 * T2) * d)
  const z = reduce(2n * Z1 * Z2)
  const e = b - a
  const f = z - c
  const g = z + c
  const h = b + a
  return [reduce(e * f), reduce(g * h), reduce(f * g), reduce(e * h)]
}

function isIdentity([X, Y, Z]: Point): boolean {
  return canonical(X) === 0n && canonical(Y - Z) === 0n
}

function timesGroupOrder(point: Point): Point {
  let sum = point
  for (const bit of groupOrder.slice(1)) {
    sum = double(sum)
    if (bit === '1') sum = add(sum, point)
  }
  return sum
}

/**
 * The policy for Ed25519 public keys, asked once when a key is first met: canonical encoding, on the curve, not of small order,
 * torsion-free. Under a key of small order one constant signature satisfies the equation for every message; OpenSSL 3.0 accepts it,
 * 3.5 does not, and neither looks for torsion. About 1 ms; not constant time, and public keys need not be.
 */
export function acceptPublicKey(raw: Buffer): { ok: true } | { ok: false; reason: KeyRefusal } {
  if (raw.length !== 32) return { ok: false, reason: 'wrong_length' }
  const point = decode(raw)
  if (typeof point === 'string') return { ok: false, reason: point }
  if (isIdentity(double(double(double(point))))) return { ok: false, reason: 'small_order' }
  return isIdentity(timesGroupOrder(point)) ? { ok: true } : { ok: false, reason: 'torsion' }
}
