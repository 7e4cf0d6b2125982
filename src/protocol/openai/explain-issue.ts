import type { z } from 'zod'
import type { Refusal } from '../pool-error.ts'

type Issue = z.core.$ZodIssue

/** OpenAI's notation of a place in the body: `messages[0].content`. */
function paramOf(path: readonly PropertyKey[]): string {
  let param = ''
  for (const step of path) {
    if (typeof step === 'number') param += `[${step}]`
    else param += param === '' ? String(step) : `.${String(step)}`
  }
  return param
}

const expectedNames: Readonly<Record<string, string>> = {
  string: 'a string',
  number: 'a number',
  int: 'an integer',
  boolean: 'a boolean',
  array: 'an array',
  object: 'an object',
  record: 'an object',
}

/** Forms that zod knows, where a schema says nothing of its own. */
const formNames: Readonly<Record<string, string>> = {
  datetime: 'a time in UTC, such as 2026-11-29T09:30:00Z',
  date: 'a day, such as 2026-11-29',
  guid: 'an id, such as 01a226ba-4c9d-75de-85f0-bb04f6e8f143',
}

/** Every pattern of our own says in words what it takes; a test sees to it. */
function formOf({ format, message }: Issue & { code: 'invalid_format' }): string {
  return message.startsWith('Invalid ') ? (formNames[format] ?? 'another form') : message.replace(/^must be /, '')
}

function kindName(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return value.length === 0 ? 'an empty array' : 'an array'
  if (typeof value === 'number') return Number.isInteger(value) ? 'an integer' : 'a decimal'
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`
}

function valueAt(body: unknown, path: readonly PropertyKey[]): unknown {
  let value = body
  for (const step of path) {
    if (typeof value !== 'object' || value === null) return undefined
    value = Object.hasOwn(value, step) ? (value as Record<PropertyKey, unknown>)[step] : undefined
  }
  return value
}

/** Of a union's branches, the issue of the one that got furthest: the shape the client most likely meant. */
function innermost(issue: Issue, prefix: readonly PropertyKey[]): { issue: Issue; path: readonly PropertyKey[] } {
  const path = [...prefix, ...issue.path]
  if (issue.code !== 'invalid_union' || issue.errors.length === 0) return { issue, path }
  const branches = issue.errors.flatMap((issues) => (issues[0] ? [innermost(issues[0], path)] : []))
  const deepest = branches.reduce((best, one) => (one.path.length > best.path.length ? one : best), { issue, path })
  if (deepest.issue !== issue) return deepest
  const notOfWrongType = branches.find((branch) => branch.issue.code !== 'invalid_type')
  return notOfWrongType ?? { issue, path }
}

function boundSentence(issue: Issue & { code: 'too_big' | 'too_small' }, param: string, value: unknown): string {
  const low = issue.code === 'too_small'
  const bound = String(low ? issue.minimum : issue.maximum)
  if (issue.origin === 'array') {
    return `Invalid '${param}': array too ${low ? 'short' : 'long'}. Expected ${low ? 'at least' : 'at most'} ${bound} item(s), but got ${Array.isArray(value) ? value.length : 'another number'}.`
  }
  if (issue.origin === 'string') {
    return `Invalid '${param}': string too ${low ? 'short' : 'long'}. Expected ${low ? 'at least' : 'at most'} ${bound} character(s).`
  }
  return `Invalid '${param}': ${low ? 'below minimum' : 'above maximum'} value. Expected a value ${low ? '>=' : '<='} ${bound}, but got ${String(value)} instead.`
}

const list = (values: readonly unknown[]) => values.map((value) => `'${String(value)}'`).join(', ')

function unionSentence(issue: Issue & { code: 'invalid_union' }, param: string, value: unknown): string {
  if (value === undefined) return `Missing required parameter: '${param}'.`
  const options = 'options' in issue ? issue.options : undefined
  if (options?.length) return `Invalid value for '${param}'. Supported values are: ${list(options)}.`
  const types = issue.errors.flatMap(([first]) => (first?.code === 'invalid_type' ? [first.expected] : []))
  const expected = [...new Set(types.map((type) => expectedNames[type] ?? type))].join(' or ')
  return `Invalid type for '${param}': expected ${expected || 'another'}, but got ${kindName(value)} instead.`
}

function sentenceOf(issue: Issue, param: string, value: unknown): string {
  switch (issue.code) {
    case 'invalid_type':
      if (value === undefined) return `Missing required parameter: '${param}'.`
      return `Invalid type for '${param}': expected ${expectedNames[issue.expected] ?? issue.expected}, but got ${kindName(value)} instead.`
    case 'too_big':
    case 'too_small':
      return boundSentence(issue, param, value)
    case 'invalid_value':
      return `Invalid value for '${param}'. Supported values are: ${list(issue.values)}.`
    case 'invalid_union':
      return unionSentence(issue, param, value)
    case 'invalid_format':
      return `Invalid '${param}': expected ${formOf(issue)}.`
    default:
      return `Invalid value for '${param}'.`
  }
}

/** The first thing wrong with a body, in OpenAI's words. Never quotes more of the body than a number or a key. */
export function explainIssue(first: Issue, body: unknown): Refusal {
  const { issue, path } = innermost(first, [])
  if (issue.code === 'unrecognized_keys') {
    const key = issue.keys[0] ?? ''
    const atRoot = path.length === 0
    const param = paramOf([...path, key])
    const message = atRoot
      ? `Unrecognized request argument${issue.keys.length > 1 ? 's' : ''} supplied: ${issue.keys.join(', ')}.`
      : `Unknown parameter: '${param}'.`
    return { code: 'unsupported_parameter', message: shorten(message), fix: 'Leave it out.', param: shorten(param) }
  }
  const param = shorten(paramOf(path))
  const message = path.length === 0 ? 'The body is not a JSON object.' : sentenceOf(issue, param, valueAt(body, path))
  const fix = 'See the API reference for what is expected.'
  return param === '' ? { code: 'invalid_request', message, fix } : { code: 'invalid_request', message, fix, param }
}

/** Keys come from the client; an error line stays a line. */
function shorten(text: string): string {
  return text.length <= 300 ? text : `${text.slice(0, 300)}…`
}
