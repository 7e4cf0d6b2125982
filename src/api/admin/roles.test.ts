import { readFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { packageRoot } from '#config'
import { Identity, mayActAs, poolItself, type Role, roles } from '#identity'
import { systemRuntime } from '#runtime'
import { Workers } from '#workers'
import { ApiDouble, adminOver } from '../../testkit/api-double.ts'
import { type TestDatabase, testDatabase } from '../../testkit/test-database.ts'

/** `GET /v1/admin/keys` and the least role, as docs/reference/roles.md says. */
const documented = new Map(
  [
    ...readFileSync(path.join(packageRoot, 'docs/reference/roles.md'), 'utf8').matchAll(
      /^\| `(\w+ \/\S+)` \| (\w+) \|/gm,
    ),
  ].map(([, door = '', role = '']) => [door, role as Role]),
)

let db: TestDatabase
let identity: Identity
let workers: Workers
let api: ApiDouble
const keys = new Map<Role, string>()
beforeAll(async () => {
  db = await testDatabase()
  identity = new Identity(db.database, systemRuntime)
  workers = new Workers({ runtime: systemRuntime })
  for (const role of roles) {
    await identity.createUser({ name: `with ${role}`, role }, poolItself)
    keys.set(role, (await identity.createApiKey({ name: role, user: `with ${role}`, role }, poolItself)).key)
  }
  api = await ApiDouble.open({
    authenticate: (key) => identity.authenticate(key),
    admin: adminOver(db.database, identity, { workers }),
  })
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  workers.close()
  identity[Symbol.dispose]()
  await db.drop()
})

async function knock(door: string, key: string, body?: string): Promise<{ status: number; code: string }> {
  const [method = '', route = ''] = door.split(' ')
  const answer = await fetch(api.url + route.replace(/\{\w+\}/g, 'nobody'), {
    method,
    headers: { authorization: `Bearer ${key}`, ...(method === 'POST' ? { 'content-type': 'application/json' } : {}) },
    ...(method === 'POST' ? { body: body ?? '{}' } : {}),
  })
  const { error } = (await answer.json()) as { error?: { code: string } }
  return { status: answer.status, code: error?.code ?? 'ok' }
}

interface Described {
  readonly 'x-lichen-role'?: Role
  readonly security: readonly Record<string, unknown>[]
}

test('docs/reference/roles.md says the least role of every route as /openapi.json does, and no other', async () => {
  const document = (await (await fetch(`${api.url}/openapi.json`)).json()) as {
    paths: Record<string, Record<string, Described>>
  }
  const described = Object.entries(document.paths).flatMap(([route, operations]) =>
    Object.entries(operations).flatMap(([method, operation]): [string, Role][] => {
      const role = operation['x-lichen-role']
      expect(route.startsWith('/v1/admin/'), `${method} ${route}`).toBe(role !== undefined)
      if (role) expect(operation.security[0]).toEqual({ owner: [] })
      return role ? [[`${method.toUpperCase()} ${route}`, role]] : []
    }),
  )
  expect(Object.fromEntries(documented)).toEqual(Object.fromEntries(described))
})

describe.each([...documented])('%s needs the role %s', (door, least) => {
  test.each(roles.map((role) => [role]))('asked by %s', async (role) => {
    const { status, code } = await knock(door, keys.get(role) ?? '')
    if (mayActAs(role, least)) expect([401, 403]).not.toContain(status)
    else expect({ status, code }).toEqual({ status: 403, code: 'role_required' })
  })

  test('asked with the owner’s key, and with none', async () => {
    expect([401, 403]).not.toContain((await knock(door, 'owner')).status)
    expect((await knock(door, '')).code).toBe('missing_api_key')
    expect((await knock(door, 'something')).code).toBe('invalid_api_key')
  })
})

test('an auditor changes nothing: whatever changes something needs more', () => {
  for (const [door, role] of documented) {
    if (!door.startsWith('GET ')) expect(mayActAs('auditor', role), door).toBe(false)
    else expect(role, door).toBe('auditor')
  }
})

test('who may not is told before the body is read', async () => {
  expect(await knock('POST /v1/admin/keys', keys.get('operator') ?? '', 'x'.repeat(70_000))).toEqual({
    status: 403,
    code: 'role_required',
  })
})
