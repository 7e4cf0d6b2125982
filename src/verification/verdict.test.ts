import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Act,
  decideAfterCheck,
  dueRatePpm,
  newStanding,
  type Standing,
  type StandingEvent,
  standingMoves,
} from './verdict.ts'
import type { Vote } from './votes.ts'

const clean: StandingEvent = { kind: 'checked', outcome: 'clean', by: [] }
const hitBy = (...by: string[]): StandingEvent => ({ kind: 'checked', outcome: 'hit', by })
const votes = (says: string): Vote[] =>
  [...says].map((letter, i) => ({
    verifier: `judge ${i}`,
    operator: `op ${i}`,
    says: letter === 'h' ? 'hit' : 'clean',
  }))
const tribunal = (says: string): StandingEvent => ({ kind: 'tribunal', votes: votes(says) })

function lived(events: readonly StandingEvent[], standing: Standing = newStanding()) {
  const acts: Act[] = []
  let last = standing
  for (const event of events) {
    const decision = decideAfterCheck(last, event)
    last = decision.standing
    acts.push(...decision.acts)
  }
  return { standing: last, acts: acts.map((act) => (act.act === 'hit_verifier' ? `hit ${act.verifier}` : act.act)) }
}
const cleans = (count: number) => new Array<StandingEvent>(count).fill(clean)
const conviction = ['slash', 'block_operator', 'recheck_window', 'refund_users']

describe('a worker', () => {
  test('is on probation for twenty clean checks and trusted after them', () => {
    expect(lived(cleans(19)).standing).toMatchObject({ phase: 'probation', clean: 19 })
    expect(lived(cleans(20))).toMatchObject({ standing: { phase: 'trusted', clean: 20 }, acts: [] })
  })

  test('with one hit waits for its money, silently, and has it back 118 clean checks later', () => {
    const hit = lived([...cleans(30), hitBy('anna')])
    expect(hit).toMatchObject({ standing: { phase: 'paused', accusers: ['anna'] }, acts: ['pause_releases'] })
    expect(lived(cleans(117), hit.standing)).toMatchObject({ standing: { phase: 'paused' }, acts: [] })
    const back = lived(cleans(118), hit.standing)
    expect(back).toMatchObject({ standing: { phase: 'trusted', clean: 148, accusers: [] }, acts: ['resume_releases'] })
  })

  test('with three hits in a row is frozen and its tribunal called', () => {
    const { standing, acts } = lived([...cleans(30), hitBy('anna'), hitBy('bob', 'carla'), hitBy('anna')])
    expect(standing).toMatchObject({ phase: 'frozen', accusers: ['anna', 'bob', 'carla'] })
    expect(acts).toEqual(['pause_releases', 'freeze', 'call_tribunal'])
  })

  test('whose isolated answer a same-class replay contradicts is frozen at once, for one of the two lies', () => {
    const { standing, acts } = lived([...cleans(30), { kind: 'mismatch', by: ['anna'] }])
    expect(standing).toMatchObject({ phase: 'frozen', accusers: ['anna'] })
    expect(acts).toEqual(['freeze', 'call_tribunal'])
  })

  test('whose result the pool itself refuted is convicted at once', () => {
    expect(lived([{ kind: 'refuted' }])).toMatchObject({ standing: { phase: 'convicted' }, acts: conviction })
  })

  test('that is frozen hears nothing of later checks until the tribunal has voted', () => {
    const frozen = lived([{ kind: 'mismatch', by: ['anna'] }]).standing
    expect(lived([clean, hitBy('bob'), { kind: 'mismatch', by: ['anna'] }], frozen)).toEqual({
      standing: frozen,
      acts: [],
    })
  })

  test('that is convicted stays convicted, whatever comes in', () => {
    const convicted = lived([{ kind: 'refuted' }]).standing
    expect(lived([clean, { kind: 'refuted' as const }, tribunal('ccc')], convicted)).toEqual({
      standing: convicted,
      acts: [],
    })
    // what is found false only now was paid for, too
    const later = [hitBy('anna'), { kind: 'mismatch' as const, by: [] }]
    expect(lived(later, convicted)).toEqual({ standing: convicted, acts: ['refund_users', 'refund_users'] })
  })
})

describe('a tribunal', () => {
  const frozen = lived([...cleans(25), hitBy('anna'), hitBy('bob'), hitBy('anna')]).standing

  test.each([
    ['hhh', conviction],
    ['hch', [...conviction, 'hit judge 1']],
    ['chh', [...conviction, 'hit judge 0']],
  ])('that votes %s convicts, and who was overruled takes the hit', (says, acts) => {
    expect(lived([tribunal(says)], frozen)).toMatchObject({ standing: { phase: 'convicted' }, acts })
  })

  test.each([
    ['ccc', ['resume_releases', 'hit anna', 'hit bob']],
    ['chc', ['resume_releases', 'hit anna', 'hit bob', 'hit judge 1']],
  ])('that votes %s clears the worker, and its accusers take the hit', (says, acts) => {
    const decided = lived([tribunal(says)], frozen)
    expect(decided.acts).toEqual(acts)
    expect(decided.standing).toMatchObject({
      phase: 'trusted',
      clean: 25,
      charts: { heights: [0, 0, 0] },
      accusers: [],
    })
  })

  test('sends a newcomer that it clears back to probation', () => {
    const newcomer = lived([hitBy('anna'), hitBy('anna'), hitBy('anna'), tribunal('ccc')])
    expect(newcomer.standing.phase).toBe('probation')
  })

  test('judges frozen workers only, with its full number of votes', () => {
    expect(() => lived([tribunal('hhh')])).toThrow('only a frozen worker')
    expect(() => lived([tribunal('h')], frozen)).toThrow('full number')
  })
})

test.each<[string, StandingEvent[], number]>([
  ['a newcomer', [], 1_000_000],
  ['a worker after 35 clean checks', cleans(35), 500_000],
  ['a worker after 700 clean checks', cleans(700), 30_000],
  ['the same with a chart above zero', [...cleans(700), hitBy('anna')], 1_000_000],
  ['the same, frozen', [...cleans(700), { kind: 'mismatch', by: [] }], 1_000_000],
])('%s is checked at the rate due', (_, events, ppm) => {
  expect(dueRatePpm(lived(events).standing)).toBe(ppm)
})

const says = fc.constantFrom('hit' as const, 'clean' as const)
const events: fc.Arbitrary<StandingEvent> = fc.oneof(
  { weight: 6, arbitrary: fc.constant(clean) },
  { weight: 3, arbitrary: fc.nat(30).map((i) => hitBy(`verifier ${i}`)) },
  { weight: 1, arbitrary: fc.nat(30).map((i): StandingEvent => ({ kind: 'mismatch', by: [`verifier ${i}`] })) },
)
const lives = fc.array(fc.tuple(events, fc.tuple(says, says, says)), { maxLength: 150 })

/** Plays a life; a frozen worker's tribunal votes at once. */
function play(
  life: readonly [StandingEvent, Vote['says'][]][],
  visit: (before: Standing, event: StandingEvent, decision: ReturnType<typeof decideAfterCheck>) => void,
) {
  let standing = newStanding()
  for (const [event, vote] of life) {
    const asked: StandingEvent = standing.phase === 'frozen' ? tribunal(vote.map((one) => one[0]).join('')) : event
    const decision = decideAfterCheck(standing, asked)
    visit(standing, asked, decision)
    standing = decision.standing
  }
  return standing
}

test('nobody is convicted without a tribunal whose majority says so, and everybody is whose does', () => {
  fc.assert(
    fc.property(lives, (life) => {
      play(life, (before, event, { standing }) => {
        const guilty = event.kind === 'tribunal' && event.votes.filter(({ says }) => says === 'hit').length >= 2
        if (before.phase !== 'convicted') expect(standing.phase === 'convicted').toBe(guilty)
      })
    }),
  )
})

test('a standing only moves as the picture says, money waits exactly while it should, and memory has an end', () => {
  fc.assert(
    fc.property(lives, (life) => {
      let waiting = false
      play(life, (before, _, { standing, acts }) => {
        const moves: readonly string[] = [before.phase, ...standingMoves[before.phase]]
        expect(moves).toContain(standing.phase)
        for (const { act } of acts) {
          if (act === 'pause_releases' || act === 'freeze') waiting = true
          if (act === 'resume_releases') waiting = false
        }
        expect(waiting).toBe(['paused', 'frozen', 'convicted'].includes(standing.phase))
        const above = standing.charts.heights.some((height) => height > 0)
        if (standing.phase === 'probation' || standing.phase === 'trusted') expect(above).toBe(false)
        if (standing.phase === 'paused') expect(above).toBe(true)
        expect(standing.accusers.length).toBeLessThanOrEqual(16)
      })
    }),
  )
})

test('a false accuser is overruled by every honest tribunal, and the worker it accused loses nothing', () => {
  fc.assert(
    fc.property(fc.array(fc.boolean(), { maxLength: 200 }), (accusations) => {
      const life = accusations.map((accuse): [StandingEvent, Vote['says'][]] => [
        accuse ? hitBy('liar') : clean,
        ['clean', 'clean', 'clean'],
      ])
      const standing = play(life, (before, event, { acts }) => {
        expect(acts.some(({ act }) => act === 'slash')).toBe(false)
        if (event.kind === 'tribunal' && before.phase === 'frozen')
          expect(acts).toContainEqual({ act: 'hit_verifier', verifier: 'liar' })
      })
      expect(standing.phase).not.toBe('convicted')
    }),
  )
})
