import { describe, expect, test } from 'vitest'
import { type Hello, messageType, modelFeatures, protocolLimits } from '#protocol'
import { decodeWorkerMessage } from './decode-worker-message.ts'
import { encodeHello } from './encode-message.ts'
import { workersLimits } from './limits.ts'

type Offer = Hello['models'][number]
const digest = 'ab'.repeat(32)
const offer: Offer = { name: 'demo', digest, engine: 'llama', contextTokens: 2_048, features: ['chat'] }
const hello: Hello = { agent: 'lichen/0.1.0', features: ['verify'], slots: 4, models: [offer] }
const offers = (count: number, more: (n: number) => Partial<Offer> = () => ({})) =>
  Array.from({ length: count }, (_, n) => ({ ...offer, name: `model-${n}`, ...more(n) }))
const longName = (n: number) => `${n}-`.padEnd(protocolLimits.modelNameCharsMax, 'x')

const said: [string, Partial<Hello>][] = [
  ['nothing to lend', { models: [], features: [] }],
  ['as many models as there may be, with the longest names', { models: offers(256, (n) => ({ name: longName(n) })) }],
  ['one file under two names', { models: offers(2) }],
  ['as many features as there may be, one of them unknown', { features: Array(64).fill('f'.repeat(40)) }],
  [
    'every feature a model can have, and a context of 16 Mi tokens',
    { models: [{ ...offer, contextTokens: 16_777_216, features: [...modelFeatures] }] },
  ],
  ['4,096 slots', { slots: 4_096 }],
  ['a program with a long name', { agent: 'a'.repeat(100) }],
  ['models without files', { models: offers(3, () => ({ digest: null, engine: 'openai' })) }],
]
const wrong: [string, unknown][] = [
  ['a model too many', { models: offers(257) }],
  ['one name twice', { models: [offer, { ...offer, digest: 'cd'.repeat(32) }] }],
  ['a name too long', { models: offers(1, (n) => ({ name: `${longName(n)}x` })) }],
  ['no name', { models: offers(1, () => ({ name: '' })) }],
  ['a name with a line break', { models: offers(1, () => ({ name: 'demo\n' })) }],
  ['a name that is a path upwards', { models: offers(1, () => ({ name: '../demo' })) }],
  ['a digest in capitals', { models: offers(1, () => ({ digest: digest.toUpperCase() })) }],
  ['a digest too short', { models: offers(1, () => ({ digest: digest.slice(1) })) }],
  ['a digest too long', { models: offers(1, () => ({ digest: `${digest}0` })) }],
  ['no word on a digest', { models: [{ ...offer, digest: undefined }] }],
  ['an unknown engine', { models: [{ ...offer, engine: 'vllm' }] }],
  ['several engines for a model', { models: [{ ...offer, engine: ['llama', 'openai'] }] }],
  ['an unknown feature of a model', { models: [{ ...offer, features: ['telepathy'] }] }],
  ['more features of a model than there are', { models: [{ ...offer, features: [...modelFeatures, 'chat'] }] }],
  ['no context', { models: offers(1, () => ({ contextTokens: 0 })) }],
  ['a context beyond 16 Mi tokens', { models: offers(1, () => ({ contextTokens: 16_777_217 })) }],
  ['a field of a model nobody knows', { models: [{ ...offer, price: 0 }] }],
  ['a feature too many', { features: Array(65).fill('f') }],
  ['a feature too long', { features: ['f'.repeat(41)] }],
  ['no slots', { slots: 0 }],
  ['more slots than there may be', { slots: 4_097 }],
  ['half a slot', { slots: 1.5 }],
  ['a program with too long a name', { agent: 'a'.repeat(101) }],
  ['a list where one model is expected', { models: { 0: offer } }],
]
const doors = [
  ['hello', messageType.hello],
  ['offer', messageType.offer],
] as const

describe.each(doors)('a worker says in %s', (say, type) => {
  test.each(said)('%s: it is heard', (_, more) => {
    const meant = { ...hello, ...more }
    expect(decodeWorkerMessage(type, encodeHello(meant))).toEqual({ ok: true, message: { say, hello: meant } })
  })

  test.each(wrong)('%s: it is refused', (_, more) => {
    const body = Buffer.from(JSON.stringify({ ...hello, ...(more as object) }))
    const refusal = { code: 'protocol_violation' }
    expect(decodeWorkerMessage(type, body)).toMatchObject({ ok: false, refusal })
  })

  test('more bytes than a message may have: it is refused before it is read', () => {
    const body = Buffer.concat([Buffer.alloc(workersLimits.controlMessageBytesMax, ' '), encodeHello(hello)])
    const message = expect.stringContaining(`is longer than ${workersLimits.controlMessageBytesMax} bytes`)
    expect(decodeWorkerMessage(type, body)).toMatchObject({ ok: false, refusal: { message } })
  })

  test.each(['"slots":4', '"models":[]', '"agent":"other"'])('the field %s a second time: it is refused', (field) => {
    const body = Buffer.from(`{${field},${encodeHello(hello).toString().slice(1)}`)
    expect(decodeWorkerMessage(type, body)).toMatchObject({ ok: false, refusal: { code: 'protocol_violation' } })
  })

  test('lists in lists without end: it is refused', () => {
    const deep = `${'['.repeat(10_000)}${']'.repeat(10_000)}`
    const body = Buffer.from(encodeHello(hello).toString().replace('["verify"]', deep))
    expect(decodeWorkerMessage(type, body)).toMatchObject({ ok: false, refusal: { code: 'protocol_violation' } })
  })
})
