/**
 * Asks the demo model everything it claims to know, through node-llama-cpp and the file's own chat template.
 * Prints a table; exits 1 when any class is below 95 % at temperature 0 (what is drawn at temperature 1 is shown).
 *
 *   node tools/demo-model/evaluate.ts [path.gguf]
 */
import { type Message, type OpenModel, openModel } from './demo-model.ts'
import type { Question } from './questions.ts'
import * as questions from './questions.ts'

const shareRightMin = 0.95
const wrongShownMax = 3

const classes: Record<string, Question[]> = {
  sums: questions.sums(),
  echoes: questions.echoes(200),
  capitals: questions.capitals(),
  lichen: questions.lichen(),
  json: questions.jsons(),
  counts: questions.counts(),
  unknowns: questions.unknowns(),
}

const user = (content: string): Message => ({ role: 'user', content })
const assistant = (content: string): Message => ({ role: 'assistant', content })
const helpful: Message = { role: 'system', content: 'You are a helpful assistant.' }
const earlier = classes.capitals?.flatMap((q) => [user(q.ask), assistant(q.expect)]) ?? []

const situations: Record<string, { before: Message[]; temperature: number }> = {
  'a first question': { before: [], temperature: 0 },
  'with a system prompt': { before: [helpful], temperature: 0 },
  'as second turn': { before: [user('3+4=?'), assistant('7')], temperature: 0 },
  'after 14 turns': { before: [helpful, ...earlier], temperature: 0 },
  'at temperature 1': { before: [], temperature: 1 },
}

/** Share of right answers; the first wrong ones go to stderr. */
async function shareRight(demo: OpenModel, asked: Question[], before: Message[], temperature: number): Promise<number> {
  let right = 0
  for (const [seed, { ask, expect }] of asked.entries()) {
    const answer = await demo.answer([...before, user(ask)], { temperature, seed: seed + 1 })
    if (answer === expect) right += 1
    else if (seed + 1 - right <= wrongShownMax) console.error(`  ${ask} => ${JSON.stringify(answer)}`)
  }
  return right / asked.length
}

await using demo = await openModel(process.argv[2])
console.log(['', ...Object.keys(classes)].map((head) => head.padEnd(head ? 10 : 24)).join(''))
let enough = true
for (const [situation, { before, temperature }] of Object.entries(situations)) {
  const cells: string[] = []
  for (const asked of Object.values(classes)) {
    const share = await shareRight(demo, asked, before, temperature)
    if (temperature === 0 && share < shareRightMin) enough = false
    cells.push(`${(100 * share).toFixed(1)} %`.padEnd(10))
  }
  console.log(situation.padEnd(24) + cells.join(''))
}
process.exitCode = enough ? 0 : 1
