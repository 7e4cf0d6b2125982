/**
 * Every refusal the product can give, by its stable code. `status` is the HTTP status, `type` the OpenAI error type.
 * `docs/reference/errors.md` explains each; a test walks both.
 */
export const refusalCodes = {
  // what the client sent
  invalid_json: { status: 400, type: 'invalid_request_error' },
  duplicate_key: { status: 400, type: 'invalid_request_error' },
  too_deep: { status: 400, type: 'invalid_request_error' },
  invalid_request: { status: 400, type: 'invalid_request_error' },
  unsupported_parameter: { status: 400, type: 'invalid_request_error' },
  context_length_exceeded: { status: 400, type: 'invalid_request_error' },
  invalid_schema: { status: 400, type: 'invalid_request_error' },
  body_too_large: { status: 413, type: 'invalid_request_error' },
  unsupported_media_type: { status: 415, type: 'invalid_request_error' },
  request_timeout: { status: 408, type: 'timeout_error' },
  idempotency_mismatch: { status: 422, type: 'invalid_request_error' },
  idempotency_in_progress: { status: 409, type: 'invalid_request_error' },
  idempotency_body_gone: { status: 409, type: 'invalid_request_error' },
  // who is asking
  missing_api_key: { status: 401, type: 'invalid_request_error' },
  invalid_api_key: { status: 401, type: 'invalid_request_error' },
  expired_api_key: { status: 401, type: 'invalid_request_error' },
  revoked_api_key: { status: 401, type: 'invalid_request_error' },
  model_not_allowed: { status: 403, type: 'permission_error' },
  admin_only: { status: 403, type: 'permission_error' },
  // what is there
  route_not_found: { status: 404, type: 'invalid_request_error' },
  method_not_allowed: { status: 405, type: 'invalid_request_error' },
  model_not_found: { status: 404, type: 'invalid_request_error' },
  not_found: { status: 404, type: 'invalid_request_error' },
  conflict: { status: 409, type: 'invalid_request_error' },
  // how much
  rate_limit_exceeded: { status: 429, type: 'rate_limit_error' },
  queue_full: { status: 429, type: 'rate_limit_error' },
  // what went wrong here
  no_worker: { status: 503, type: 'service_unavailable_error' },
  overloaded: { status: 503, type: 'service_unavailable_error' },
  shutting_down: { status: 503, type: 'service_unavailable_error' },
  database_unavailable: { status: 503, type: 'service_unavailable_error' },
  worker_lost: { status: 503, type: 'server_error' },
  upstream_error: { status: 502, type: 'server_error' },
  deadline_exceeded: { status: 504, type: 'timeout_error' },
  internal_error: { status: 500, type: 'server_error' },
  // workers at the door
  protocol_violation: { status: 400, type: 'session_error' },
  unsupported_protocol: { status: 400, type: 'session_error' },
  pool_unreachable: { status: 503, type: 'session_error' },
  wrong_pool: { status: 403, type: 'session_error' },
  handshake_failed: { status: 403, type: 'session_error' },
  auth_deadline: { status: 408, type: 'session_error' },
  invite_invalid: { status: 403, type: 'session_error' },
  invite_used: { status: 403, type: 'session_error' },
  invite_expired: { status: 403, type: 'session_error' },
  worker_unknown: { status: 403, type: 'session_error' },
  worker_revoked: { status: 403, type: 'session_error' },
  worker_expired: { status: 403, type: 'session_error' },
  session_exists: { status: 409, type: 'session_error' },
  session_replaced: { status: 409, type: 'session_error' },
  rate_exceeded: { status: 429, type: 'session_error' },
  too_many_sockets: { status: 429, type: 'session_error' },
  // the operator's own machine
  config_invalid: { status: 500, type: 'config_error' },
  insecure_bind: { status: 500, type: 'config_error' },
  data_in_use: { status: 500, type: 'config_error' },
  key_file_unsafe: { status: 500, type: 'config_error' },
  port_in_use: { status: 500, type: 'config_error' },
  model_unreadable: { status: 500, type: 'config_error' },
  schema_too_new: { status: 500, type: 'config_error' },
} as const satisfies Record<string, { status: number; type: string }>

/** One of {@link refusalCodes}. */
export type RefusalCode = keyof typeof refusalCodes
