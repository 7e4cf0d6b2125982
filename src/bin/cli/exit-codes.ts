/** What a command's exit says. docs/reference/cli.md repeats them. */
export const exitCodes = {
  /** It did what was asked. */
  ok: 0,
  /** It was refused, or it failed; the sentence on stderr says why. */
  failed: 1,
  /** It was called wrongly: unknown command, flag or setting. */
  usage: 2,
  /** The pool did not answer at its address; or the peer that was asked did not. */
  unreachable: 3,
  /** Whoever read its output has gone, as `head` does; a shell says so of SIGTERM, too. */
  unread: 143,
} as const
