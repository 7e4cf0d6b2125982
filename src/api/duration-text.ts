/** A duration as OpenAI's headers write it: `80ms`, `1s`, `1.500s`. */
export function durationText(ms: number): string {
  return ms < 1_000 ? `${ms}ms` : `${(ms / 1_000).toFixed(ms % 1_000 ? 3 : 0)}s`
}
