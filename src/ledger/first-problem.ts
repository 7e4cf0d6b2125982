import type { Sql } from '#storage'

/** The first row that one of these finds, as a sentence. */
export async function firstProblem(sql: Sql, checks: readonly string[], from?: number): Promise<string | undefined> {
  for (const check of checks) {
    const [found] = await sql.unsafe<Record<string, unknown>[]>(`${check} limit 1`, from === undefined ? [] : [from])
    if (found) return sentence(String(Object.values(found)[0]))
  }
  return undefined
}

const sentence = (text: string) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`
