import { randomInt } from 'node:crypto'
import { expect, test } from 'vitest'
import { generateIdentity, sha256 } from '#crypto'
import type { PoolId } from '#protocol'
import { systemRuntime } from '#runtime'
import { factLimits } from '../limits.ts'
import { type Fact, isBefore, nextStamp, readFact, type SignedFact, signFact, whyRefused } from './fact.ts'
import { countingFacts, type FactSet, faultsOf, joinFacts, viewOf } from './merge.ts'

const [anna, bert] = [generateIdentity(systemRuntime), generateIdentity(systemRuntime)]
const now = 1_800_000_000_000
const first: Fact = {
  author: anna.id as PoolId,
  generation: 1,
  kind: 'model',
  name: 'moss',
  value: Buffer.from('1'),
  ms: now,
  count: 0,
  prev: null,
  expires: null,
}
const say = (more: Partial<Fact>, by = anna) => signFact({ ...first, author: by.id as PoolId, ...more }, by)
const after = (before: SignedFact, more: Partial<Fact>) =>
  say({ prev: before.hash, ms: before.ms + 1, ...more }, before.author === anna.id ? anna : bert)
const set = (...facts: SignedFact[]): FactSet<SignedFact> => new Map(facts.map((fact) => [fact.hash, fact]))
const values = (facts: FactSet<SignedFact>, aside?: ReadonlySet<string>) =>
  viewOf(facts, now, aside).map(({ name, value }) => `${name}=${value}`)

/** Two authors who sometimes contradict themselves, some names, some taken back. */
function someFacts(): SignedFact[] {
  const said: SignedFact[] = []
  for (let n = 0; n < 14; n++) {
    const by = randomInt(2) === 0 ? anna : bert
    const own = said.filter(({ author }) => author === by.id)
    const before = randomInt(6) === 0 ? own[randomInt(own.length + 1)] : own.at(-1)
    const back = randomInt(12) === 0 ? -2 : 1
    const more = { prev: before?.hash ?? null, ms: (before?.ms ?? now) + back, name: `n${randomInt(3)}` }
    const kind = randomInt(5) === 0 ? 'revocation' : 'model'
    const value = kind === 'model' && randomInt(5) === 0 ? null : Buffer.from(String(n))
    said.push(say({ ...more, kind, value }, by))
  }
  return said
}
const sample = (facts: readonly SignedFact[]) => set(...facts.filter(() => randomInt(2) === 0))
const seen = (facts: FactSet<SignedFact>) => ({
  facts: [...facts.keys()].sort(),
  faults: faultsOf(facts),
  counting: countingFacts(facts)
    .map(({ hash }) => hash)
    .sort(),
  view: viewOf(facts, now).map(({ hash }) => hash),
})

test('whatever facts meet in whatever order and however often, everybody sees the same', () => {
  for (let round = 0; round < 60; round++) {
    const all = someFacts()
    const [a, b, c] = [sample(all), sample(all), sample(all)]
    expect(seen(joinFacts(a, b))).toEqual(seen(joinFacts(b, a)))
    expect(seen(joinFacts(joinFacts(a, b), c))).toEqual(seen(joinFacts(a, joinFacts(b, c))))
    expect(seen(joinFacts(a, a))).toEqual(seen(a))
    expect(seen(joinFacts(joinFacts(a, b), a))).toEqual(seen(joinFacts(a, b)))
  }
})

test('the last word of an author stands, and a name that was taken back is gone', () => {
  const one = say({})
  const two = after(one, { value: Buffer.from('2') })
  const other = after(two, { name: 'fern', expires: now })
  const gone = after(other, { value: null })
  expect(values(set(one))).toEqual(['moss=1'])
  expect(values(set(two, one, other))).toEqual(['moss=2'])
  expect(values(set(two, one, other, gone))).toEqual([])
})

test('two authors may say different things under one name, and both stand', () => {
  expect(viewOf(set(say({}), say({ value: Buffer.from('2') }, bert)), now)).toHaveLength(2)
})

test('an author with two continuations is stopped where they part, until a human puts one aside', () => {
  const one = say({})
  const two = after(one, { value: Buffer.from('2') })
  const liar = after(one, { value: Buffer.from('3'), name: 'fern' })
  const three = after(liar, { value: Buffer.from('4') })
  const all = set(one, two, liar, three)
  expect(faultsOf(all)).toEqual([{ author: anna.id, kind: 'fork', facts: [two.hash, liar.hash].sort() }])
  expect(values(all)).toEqual(['moss=1'])
  expect(values(all, new Set([liar.hash]))).toEqual(['moss=2'])
  expect(faultsOf(all, new Set([liar.hash]))).toEqual([])
  expect(values(all, new Set([two.hash]))).toEqual(['fern=3', 'moss=4'])
})

test('an old value signed again is seen: it goes on from where its author already went on, or from what is later', () => {
  const one = say({})
  const two = after(one, { value: Buffer.from('2') })
  const again = after(one, { ms: now + 50 })
  expect(faultsOf(set(one, two, again))).toMatchObject([{ kind: 'fork' }])
  const backdated = after(two, { ms: now })
  expect(faultsOf(set(one, two, backdated))).toEqual([
    { author: anna.id, kind: 'order', facts: [two.hash, backdated.hash] },
  ])
  expect(values(set(one, two, backdated))).toEqual([])
})

test('a log that lost its newest facts goes on in the next generation without contradicting itself', () => {
  const one = say({})
  const lost = after(one, { value: Buffer.from('2') })
  const restored = after(one, { value: Buffer.from('3'), ms: now + 60, generation: 2 })
  expect(faultsOf(set(one, lost, restored))).toEqual([])
  expect(values(set(one, lost, restored))).toEqual(['moss=3'])
  expect(faultsOf(set(one, restored, after(restored, { generation: 1 })))).toMatchObject([{ kind: 'order' }])
})

test('what was revoked stays so, whatever its author says later', () => {
  const one = say({ kind: 'revocation', name: bert.id })
  const two = after(one, { kind: 'revocation', name: bert.id, value: Buffer.from('no, sorry') })
  expect(viewOf(set(one, two), now).map(({ hash }) => hash)).toEqual([one.hash])
  expect(() => after(two, { kind: 'revocation', name: bert.id, value: null })).toThrow('forward_only')
})

test('refused: another author’s key, a changed byte, the future, strangers', () => {
  const fact = say({})
  expect(whyRefused(fact, anna.publicKey, now)).toBeUndefined()
  expect(whyRefused(fact, undefined, now)).toBe('author_unknown')
  expect(whyRefused(fact, bert.publicKey, now)).toBe('bad_signature')
  expect(whyRefused(signFact({ ...first, author: bert.id as PoolId }, anna), bert.publicKey, now)).toBe('bad_signature')
  expect(whyRefused(fact, anna.publicKey, now - factLimits.aheadMsMax - 1)).toBe('from_the_future')
  const changed = Buffer.from(fact.wire)
  changed[changed.indexOf('moss')] = 'b'.charCodeAt(0)
  const read = readFact(changed)
  expect(read.ok && whyRefused(read.fact, anna.publicKey, now)).toBe('bad_signature')
})

test('only bytes with one reading are read', () => {
  const { wire, hash } = say({})
  expect(readFact(wire)).toMatchObject({ ok: true, fact: { hash, name: 'moss' } })
  for (const wrong of [wire.subarray(1), wire.subarray(0, -65), Buffer.alloc(0), Buffer.concat([Buffer.of(0), wire])])
    expect(readFact(wrong)).toEqual({ ok: false, code: 'malformed' })
  expect(readFact(Buffer.alloc(factLimits.factBytesMax + 1))).toEqual({ ok: false, code: 'too_large' })
  // signing the same bytes again is the same fact
  expect(sha256(Buffer.from('lichen-fact/1\n'), wire.subarray(0, -64)).toString('hex')).toBe(hash)
})

test('an author’s clock never goes back, also where the machine’s does', () => {
  let last = nextStamp(5, undefined)
  for (const clock of [5, 4, 6, 6, 1]) {
    const next = nextStamp(clock, last)
    expect(isBefore(last, next)).toBe(true)
    last = next
  }
  expect(nextStamp(5, { ms: 5, count: factLimits.stampCountMax })).toEqual({ ms: 6, count: 0 })
})
