import { z } from 'zod'
import { errorSchema } from '../openai/reply-schemas.ts'
import { type Caller, type Notice, type Route, route } from '../route.ts'

type Json = Record<string, unknown>

/** A zod schema as JSON Schema 2020-12, the dialect of OpenAPI 3.1. */
function toJsonSchema(schema: z.ZodType, io: 'input' | 'output'): Json {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, { io, target: 'draft-2020-12', unrepresentable: 'any' })
  return rest
}

const jsonContent = (schema: Json): Json => ({ 'application/json': { schema } })

/** `/v1/admin/keys/:id` as OpenAPI writes it: `/v1/admin/keys/{id}`. A last `*` becomes `{model}`. */
const templateOf = (path: string) => path.replace(/:(\w+)/g, '{$1}').replace(/\*$/, '{model}')

function parametersOf(notice: Notice): Json[] {
  const inPath = [...templateOf(notice.path).matchAll(/\{(\w+)\}/g)].map(([, name]) => {
    return { name, in: 'path', required: true, schema: { type: 'string' } }
  })
  if (!notice.query) return inPath
  const { properties = {}, required = [] } = toJsonSchema(notice.query, 'input') as {
    properties?: Record<string, Json>
    required?: string[]
  }
  const inQuery = Object.entries(properties).map(([name, schema]) => {
    return { name, in: 'query', required: required.includes(name), schema }
  })
  return [...inPath, ...inQuery]
}

function operationOf(notice: Notice): Json {
  const { body, reply } = notice
  const ok: Json = { description: 'What was asked for.' }
  if (reply) ok.content = jsonContent(toJsonSchema(reply, 'output'))
  return {
    summary: notice.summary,
    ...callerOf(notice.caller),
    parameters: parametersOf(notice),
    ...(body ? { requestBody: { required: true, content: jsonContent(toJsonSchema(body, 'input')) } } : {}),
    responses: {
      [String(notice.status ?? 200)]: ok,
      default: { description: 'A refusal.', content: jsonContent({ $ref: '#/components/schemas/Error' }) },
    },
  }
}

/** Who may come. A role is said by an extension: it is not a scope that a client could ask for (OpenAPI 3.1 §4.8.30). */
function callerOf(caller: Caller): Json {
  if (caller === 'anyone') return { security: [] }
  const security = [{ client: [] }, { clientHeader: [] }]
  return caller === 'client' ? { security } : { security: [{ owner: [] }, ...security], 'x-lichen-role': caller }
}

/** The description of every door, made from the schemas that guard it. */
function openApiDocument(version: string, notices: readonly Notice[]): Json {
  const paths: Record<string, Json> = {}
  for (const notice of notices) {
    const path = templateOf(notice.path)
    paths[path] = { ...paths[path], [notice.method.toLowerCase()]: operationOf(notice) }
  }
  return {
    openapi: '3.1.0',
    info: { title: 'Lichen pool', version, license: { name: 'Apache-2.0', identifier: 'Apache-2.0' } },
    paths,
    components: {
      schemas: { Error: toJsonSchema(errorSchema, 'output') },
      securitySchemes: {
        client: { type: 'http', scheme: 'bearer', description: 'An API key.' },
        clientHeader: { type: 'apiKey', in: 'header', name: 'x-api-key', description: 'An API key.' },
        owner: { type: 'http', scheme: 'bearer', description: "The content of the pool's owner.key: every role." },
      },
    },
  }
}

/** `GET /openapi.json`; describes itself too. */
export function openApiRoute(version: string, others: readonly Notice[]): Route {
  let document: Json | undefined
  const self: Route = route({
    method: 'GET',
    path: '/openapi.json',
    caller: 'anyone',
    summary: 'This description, made from the schemas the server checks with.',
    handle: () => {
      document ??= openApiDocument(version, [...others, self])
      return document
    },
  })
  return self
}
