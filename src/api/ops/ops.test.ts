import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { ApiDouble } from '../../testkit/api-double.ts'

test('a pool is ready only while a request would be answered', async () => {
  await using api = await ApiDouble.open()
  const ready = async () => {
    const answer = await fetch(`${api.url}/readyz`)
    return [answer.status, await answer.json()]
  }
  expect(await ready()).toEqual([200, { ready: true, reason: null }])
  api.databaseUp = false
  expect(await ready()).toEqual([503, { ready: false, reason: 'The database does not answer, or cannot write.' }])
  api.databaseUp = true
  api.models.remove('ff'.repeat(32))
  expect(await ready()).toEqual([503, { ready: false, reason: 'No approved worker that offers a model is connected.' }])
  expect((await fetch(`${api.url}/healthz`)).status).toBe(200)
})

test('a pool that was told to stop says that, not that its database is at fault', async () => {
  await using api = await ApiDouble.open()
  api.stopping = true
  const answer = await fetch(`${api.url}/readyz`)
  expect([answer.status, await answer.json()]).toEqual([503, { ready: false, reason: 'The pool is stopping.' }])
})

test('metrics and version are for everyone', async () => {
  await using api = await ApiDouble.open()
  const metrics = await fetch(`${api.url}/metrics`)
  expect([metrics.headers.get('content-type'), await metrics.text()]).toEqual([
    'text/plain; version=0.0.4; charset=utf-8',
    'up 1\n',
  ])
  expect(await (await fetch(`${api.url}/version`)).json()).toEqual({
    name: 'lichen',
    version: '0.1.0',
    pool: 'cd'.repeat(32),
  })
  const head = await fetch(`${api.url}/version`, { method: 'HEAD' })
  expect([head.status, await head.text()]).toEqual([200, ''])
})

test('a person gets a page that loads nothing and runs nothing; a program gets JSON', async () => {
  await using api = await ApiDouble.open({ publicUrl: 'https://pool.example/' })
  const asJson = await fetch(api.url)
  expect(await asJson.json()).toMatchObject({ name: 'lichen' })
  const answer = await fetch(api.url, { headers: { accept: 'text/html,application/xhtml+xml' } })
  const html = await answer.text()
  expect(answer.headers.get('content-type')).toBe('text/html; charset=utf-8')
  expect(html).toContain('curl https://pool.example/v1/chat/completions')
  expect(html).toContain('<td><code>org/vectors</code></td><td>1</td>')
  expect(html).toContain('answers requests')
  expect(html).not.toMatch(/<script|<img|<link|src=/)
  const style = /<style>([\s\S]*)<\/style>/.exec(html)?.[1] ?? ''
  const hash = createHash('sha256').update(style).digest('base64')
  expect(answer.headers.get('content-security-policy')).toContain(`style-src 'sha256-${hash}'`)
  expect(answer.headers.get('content-security-policy')).toContain("default-src 'none'")
})

test('names from outside cannot become markup', async () => {
  const { homePage } = await import('../home-page.ts')
  const html = homePage({
    pool: '<b>',
    version: '"',
    url: 'https://x/"><i>',
    ready: false,
    models: [{ id: '<u>&', workers: 1 }],
  })
  expect(html).not.toMatch(/<b>|<i>|<u>/)
  expect(html).toContain('&lt;u&gt;&amp;')
})
