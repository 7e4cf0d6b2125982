import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { federationOps } from './conformance.ts'

interface Case {
  comment: string
  input: Record<string, unknown>
  ok: boolean
  output?: unknown
  code?: string
}
const list = (file: string): Case[] =>
  JSON.parse(readFileSync(new URL(`../../spec/vectors/federation/${file}`, import.meta.url), 'utf8'))
const ask = (op: string, input: unknown) => federationOps[op]?.(input)

test.each(list('envelope-sign.json'))('envelope.sign: $comment', ({ input, output }) => {
  expect(ask('envelope.sign', input)).toEqual({ ok: true, output })
})

test.each(list('facts-merge.json'))('facts.merge: $comment', ({ input, output }) => {
  expect(ask('facts.merge', input)).toEqual({ ok: true, output })
})

const opOf = {
  'acceptance-verify.json': 'acceptance.verify',
  'jwt-verify.json': 'jwt.verify',
  'envelope-verify.json': 'envelope.verify',
  'peer-url.json': 'peerurl.check',
  'succession-verify.json': 'succession.verify',
} as const
for (const file of Object.keys(opOf) as (keyof typeof opOf)[]) {
  test.each(list(file))(`${opOf[file]}: $comment`, ({ input, ok, output, code }) => {
    expect(ask(opOf[file], input)).toMatchObject(ok ? { ok, output } : { ok, error: { code } })
  })
}

test('the vector of the live network holds to the byte', () => {
  const signed = ask('envelope.sign', list('envelope-sign.json')[0]?.input)
  expect(signed).toMatchObject({
    output: {
      signed_sha256: '158d02801f4fc90f278a648d2216eab70fafd1ee9b7b501856bfeb6914118b1b',
      headers: {
        'x-iamine-signature':
          'BxyVMb7GNeurcH10L+fECefZ57y5Fl2olLrAeYB441lK9ti0qF94ldgUne+BR3urSQGFgVB/dhwjlH4eLX+pBA==',
      },
    },
  })
})

test('a body above one MiB is refused before anything is read', () => {
  const whole = list('envelope-verify.json')[0]?.input
  const request = whole?.request as object
  const body = Buffer.alloc(1_048_577).toString('base64')
  expect(ask('envelope.verify', { ...whole, request: { ...request, body } })).toMatchObject({
    error: { code: 'body_too_large' },
  })
})
