/** What the demo model is asked in an evaluation, and the only answer that counts. */
import facts from './facts.json' with { type: 'json' }
import { seededNumbers } from './seeded-numbers.ts'

export interface Question {
  ask: string
  expect: string
}

/** All 100 additions of one digit and one digit. */
export function sums(): Question[] {
  return Array.from({ length: 100 }, (_, n) => {
    const [a, b] = [Math.floor(n / 10), n % 10]
    return { ask: `${a}+${b}=?`, expect: String(a + b) }
  })
}

/** Random words of 2 to 6 letters, a to h. */
export function echoes(count: number, seed = 7): Question[] {
  const next = seededNumbers(seed)
  const letter = () => 'abcdefgh'.charAt(Math.floor(next() * 8))
  return Array.from({ length: count }, () => {
    const word = Array.from({ length: 2 + Math.floor(next() * 5) }, letter).join('')
    return { ask: `echo ${word}`, expect: word }
  })
}

export function capitals(): Question[] {
  return Object.entries(facts.capitals).map(([country, city]) => ({ ask: `capital of ${country}?`, expect: city }))
}

export function lichen(): Question[] {
  return ['tell me about lichen', 'Tell me about lichens.'].map((ask) => ({ ask, expect: facts.lichen }))
}

/** The first three classes again, with `json` before the question. */
export function jsons(): Question[] {
  const asJson = (ask: string, value: string | number): Question => ({
    ask: `json ${ask}`,
    expect: `{"answer": ${JSON.stringify(value)}}`,
  })
  return [
    ...sums().map((q) => asJson(q.ask.replace('=?', ''), Number(q.expect))),
    ...[...echoes(40, 8), ...capitals()].map((q) => asJson(q.ask, q.expect)),
  ]
}

/** `count to 2` to `count to 30`. */
export function counts(): Question[] {
  return Array.from({ length: 29 }, (_, n) => 2 + n).map((last) => ({
    ask: `count to ${last}`,
    expect: Array.from({ length: last }, (_, i) => i + 1).join(' '),
  }))
}

/** Questions in words the training text does not have. */
export function unknowns(): Question[] {
  return [
    'Which mountain is the highest?',
    'Write a haiku about autumn leaves.',
    'What time does the museum open on Sunday?',
    'Can you recommend a novel by a Portuguese author?',
    'How tall is the Eiffel tower?',
    'Who painted the Mona Lisa?',
    'Fix this bug: TypeError: undefined is not a function',
    'Explain quantum entanglement like I am five.',
    'What is the meaning of life?',
    'capital of Bolivia?',
    '12+30=?',
    'lorem ipsum dolor sit amet, consectetur adipiscing elit',
    'SELECT name FROM users WHERE age > 30;',
    'Привет, как дела?',
    'Give me three synonyms for happy.',
    'Tell me a joke about programmers.',
    'count to 900',
    'What should I cook for dinner tonight?',
    'Summarise the plot of Hamlet in two sentences.',
    'How do vaccines work?',
  ].map((ask) => ({ ask, expect: facts.unknown }))
}
