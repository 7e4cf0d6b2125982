import type { ServerResponse } from 'node:http'
import { type Refusal, refusalCodes, toOpenAiError } from '#protocol'
import { refusalHeaders, securityHeaders } from './refusal-headers.ts'
import { TextReply } from './route.ts'

const json = 'application/json; charset=utf-8'

/** Writes a whole JSON response. `headers`: name, value, name, value. */
export function writeJson(out: ServerResponse, status: number, body: string, headers: readonly string[]): void {
  write(out, status, json, body, headers)
}

/** Writes a refusal as a whole response, in OpenAI's envelope. Returns the status. */
export function writeRefusal(out: ServerResponse, refusal: Refusal, headers: readonly string[]): number {
  const { status } = refusalCodes[refusal.code]
  writeJson(out, status, JSON.stringify(toOpenAiError(refusal)), [...headers, ...refusalHeaders(refusal)])
  return status
}

/** Writes a handler's value as a whole response: JSON, or text and bytes as they are. Returns the status. */
export function writeReply(out: ServerResponse, value: unknown, status: number, headers: readonly string[]): number {
  if (!(value instanceof TextReply)) {
    writeJson(out, status, JSON.stringify(value), headers)
    return status
  }
  write(out, value.status, value.contentType, value.text, [...headers, ...value.headers])
  return value.status
}

function write(
  out: ServerResponse,
  status: number,
  type: string,
  body: string | Buffer,
  headers: readonly string[],
): void {
  const length = String(Buffer.byteLength(body))
  out.writeHead(status, [...headers, ...securityHeaders, 'content-type', type, 'content-length', length])
  out.end(body)
}
