type Members = Record<string, unknown>

const isMembers = (value: unknown): value is Members =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Members that name a thing; a later chunk repeats them, it does not continue them. */
const named = new Set(['id', 'type', 'role', 'name', 'index'])

/**
 * Adds one streamed `delta` to what came before, as OpenAI's clients do: strings continue, `tool_calls` meet by their
 * `index`, objects merge, everything else is replaced. Returns `into`, changed.
 */
export function mergeDelta(into: Members, delta: Members): Members {
  for (const [key, value] of Object.entries(delta)) {
    const before = Object.hasOwn(into, key) ? into[key] : undefined
    if (key === 'tool_calls' && Array.isArray(value)) set(into, key, mergeToolCalls(before, value))
    else if (typeof before === 'string' && typeof value === 'string') {
      into[key] = named.has(key) ? value || before : before + value
    } else if (isMembers(before) && isMembers(value)) mergeDelta(before, value)
    else if (value !== null || before === undefined) set(into, key, value)
  }
  return into
}

/** `__proto__` from an upstream is a key like any other. */
function set(into: Members, key: string, value: unknown): void {
  Object.defineProperty(into, key, { value, enumerable: true, configurable: true, writable: true })
}

interface ToolCallSoFar {
  readonly index: number
  readonly call: Members
}

/** Calls so far, each kept under its `index`; the index itself is not part of a whole message. */
const indexOf = new WeakMap<Members, number>()

function mergeToolCalls(before: unknown, parts: readonly unknown[]): Members[] {
  const calls: ToolCallSoFar[] = (Array.isArray(before) ? before : [])
    .filter(isMembers)
    .map((call, position) => ({ call, index: indexOf.get(call) ?? position }))
  for (const part of parts) {
    if (!isMembers(part)) continue
    const { index: at, ...rest } = part
    const index = typeof at === 'number' ? at : calls.length
    const known = calls.find((one) => one.index === index)
    if (known) {
      mergeDelta(known.call, rest)
      continue
    }
    const call = mergeDelta({}, rest)
    indexOf.set(call, index)
    calls.push({ index, call })
  }
  return calls.sort((a, b) => a.index - b.index).map(({ call }) => call)
}
