const pinned = /^(.+)@([0-9a-f]{64})$/

/** `name@sha256` asks for one file of that name; its digest is lower-case hex. */
export function parseModelName(asked: string): { name: string; digest: string | undefined } {
  const match = asked.length > 65 ? pinned.exec(asked) : null
  return match?.[1] === undefined ? { name: asked, digest: undefined } : { name: match[1], digest: match[2] }
}
