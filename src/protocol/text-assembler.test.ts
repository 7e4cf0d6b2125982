import fc from 'fast-check'
import { expect, test } from 'vitest'
import { TextAssembler } from './text-assembler.ts'

const assemble = (pieces: Buffer[], stops: string[]) => {
  const assembler = new TextAssembler(stops)
  let text = ''
  for (const piece of pieces) text += assembler.push(piece)
  return { text: text + assembler.finish(), stopped: assembler.stopped }
}

test('a letter split over three tokens is shown once it is whole', () => {
  const assembler = new TextAssembler()
  const [a, b, c] = [...Buffer.from('€')].map((byte) => Buffer.from([byte]))
  expect([a, b, c].map((piece) => assembler.push(piece ?? Buffer.alloc(0)))).toEqual(['', '', '€'])
})

test('a stop string that arrives in pieces never shows its beginning', () => {
  const assembler = new TextAssembler(['END'])
  expect(['one E', 'N', 'D two'].map((piece) => assembler.push(Buffer.from(piece)))).toEqual(['one ', '', ''])
  expect(assembler.stopped).toBe(true)
})

test('what only looked like a stop string is shown after all', () => {
  expect(assemble([Buffer.from('EN'), Buffer.from('TER')], ['END'])).toEqual({ text: 'ENTER', stopped: false })
})

test('however the text is cut, the reader sees everything before the first stop string', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom('a', 'b', 'é', '🍄') }),
      fc.array(fc.string({ unit: fc.constantFrom('a', 'b', 'é'), minLength: 1, maxLength: 3 }), { maxLength: 3 }),
      fc.array(fc.nat(5)),
      (text, stops, cuts) => {
        const bytes = Buffer.from(text)
        const pieces: Buffer[] = []
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const step = 1 + (cuts[i % Math.max(1, cuts.length)] ?? 0)
          pieces.push(bytes.subarray(at, at + step))
          at += step
        }
        const first = Math.min(...stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0), Infinity)
        const shown = assemble(pieces, stops)
        // A stop string found later may begin earlier than one found first; what is shown never contains a stop string.
        expect(stops.some((stop) => shown.text.includes(stop))).toBe(false)
        if (first === Infinity) expect(shown).toEqual({ text, stopped: false })
        else expect(text.startsWith(shown.text)).toBe(true)
      },
    ),
  )
})
