import { readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { refusalCodes } from '#protocol'
import { ApiDouble, toyDigest } from '../testkit/api-double.ts'

const page = (name: string) => readFileSync(path.join(import.meta.dirname, '../../docs/reference', name), 'utf8')
const headings = (text: string) => [...text.matchAll(/^### (.+)$/gm)].map(([, heading]) => heading ?? '')

interface Document {
  openapi: string
  paths: Record<string, Record<string, { responses: Record<string, unknown>; requestBody?: unknown }>>
}

async function openApi(): Promise<Document> {
  await using api = await ApiDouble.open()
  return (await (await fetch(`${api.url}/openapi.json`)).json()) as Document
}

test('every route stands in docs/reference/api.md, and no other', async () => {
  const { paths } = await openApi()
  const routes = Object.entries(paths).flatMap(([route, operations]) =>
    Object.keys(operations).map((method) => `${method.toUpperCase()} ${route}`),
  )
  expect(headings(page('api.md')).sort()).toEqual(routes.sort())
})

test('every refusal stands in docs/reference/errors.md with its status and what to do, and no other', () => {
  const text = page('errors.md')
  expect(headings(text).sort()).toEqual(Object.keys(refusalCodes).sort())
  for (const [code, { status, type }] of Object.entries(refusalCodes)) {
    const section = text.split(`### ${code}\n`)[1]?.split('\n#')[0] ?? ''
    expect(section.length, code).toBeGreaterThan(60)
    if (type !== 'config_error') expect(section, code).toContain(`Status ${status}`)
  }
})

test('docs/reference/api.md names what a listed model tells of itself, as the reply has it', async () => {
  await using api = await ApiDouble.open()
  const answer = await fetch(`${api.url}/v1/models`, { headers: { authorization: 'Bearer sk-all' } })
  const { data } = (await answer.json()) as { data: { id: string; lichen: Record<string, unknown> }[] }
  const section = page('api.md').split('### GET /v1/models\n')[1]?.split('\n#')[0] ?? ''
  for (const { lichen } of data) for (const name of Object.keys(lichen)) expect(section).toContain(`\`${name}\``)
  const digests = Object.fromEntries(data.map(({ id, lichen }) => [id, lichen.digests]))
  expect(digests).toMatchObject({ toy: [toyDigest], 'org/vectors': [] })
})

test('the description of the API is whole: bodies, answers and the error envelope', async () => {
  const document = await openApi()
  expect(document.openapi).toBe('3.1.0')
  const chat = document.paths['/v1/chat/completions']?.post
  expect(JSON.stringify(chat?.requestBody)).toContain('max_completion_tokens')
  expect(JSON.stringify(chat?.responses)).toContain('finish_reason')
  for (const operations of Object.values(document.paths)) {
    for (const operation of Object.values(operations)) expect(operation.responses.default).toBeDefined()
  }
  const references = [...JSON.stringify(document).matchAll(/"\$ref":"(#[^"]+)"/g)].map(([, reference]) => reference)
  expect(new Set(references)).toEqual(new Set(['#/components/schemas/Error']))
})
