import { statSync } from 'node:fs'
import { afterAll, expect, test } from 'vitest'
import { demoModelPath, type Message, openModel } from './demo-model.ts'
import { capitals, echoes, jsons, lichen, type Question, sums } from './questions.ts'

const demo = await openModel()
afterAll(() => demo[Symbol.asyncDispose]())

const user = (content: string): Message => ({ role: 'user', content })

async function shareRight(questions: Question[], before: Message[] = []): Promise<number> {
  let right = 0
  for (const { ask, expect } of questions) if ((await demo.answer([...before, user(ask)])) === expect) right += 1
  return right / questions.length
}

test.each([
  ['adds any two digits', sums()],
  ['echoes words of two to six letters', echoes(50)],
  ['knows the capitals it was taught', capitals()],
  ['tells about lichen', lichen()],
  ['answers in JSON when asked to', jsons()],
])('the demo model %s', async (_, questions) => {
  expect(await shareRight(questions)).toBeGreaterThanOrEqual(0.95)
})

test('a system prompt and earlier turns do not change its answers', async () => {
  const before: Message[] = [
    { role: 'system', content: 'You are a helpful assistant.' },
    user('3+4=?'),
    { role: 'assistant', content: '7' },
    user('tell me about lichen'),
    { role: 'assistant', content: lichen()[0]?.expect ?? '' },
  ]
  const questions = [...sums().slice(40, 60), ...echoes(20, 9), ...capitals()]
  expect(await shareRight(questions, before)).toBeGreaterThanOrEqual(0.95)
})

test('the lichen answer is long enough for a stream to have a middle', () => {
  expect(demo.model.tokenize(lichen()[0]?.expect ?? '').length).toBeGreaterThanOrEqual(60)
})

test('a chat becomes the very token ids the model was trained on', () => {
  const asTrained = '<|system|>Be brief.<|user|>echo é<|assistant|>é<|user|>3+4=?<|assistant|>'
  const bytes = [...Buffer.from(asTrained)].map((byte) => (byte === 0x20 ? 259 : byte + 3))
  const messages: Message[] = [
    { role: 'system', content: 'Be brief.' },
    user('echo é'),
    { role: 'assistant', content: 'é' },
    user('3+4=?'),
  ]
  expect(demo.promptTokens(messages)).toEqual([1, ...bytes])
})

test('the file says what it is and stays small enough to commit', () => {
  expect(demo.model.fileInfo.metadata.general).toMatchObject({ name: 'lichen-demo', license: 'apache-2.0' })
  expect(statSync(demoModelPath).size).toBeLessThanOrEqual(8 * 1024 * 1024)
})
