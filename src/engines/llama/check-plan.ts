import { type CheckTask, type EndingEvidence, TextAssembler } from '#protocol'
import { contextExceeded, type GenerationPlan, planGeneration } from './generation-plan.ts'
import type { LoadedModel } from './loaded-model.ts'

/** What of a committed answer is to be looked at. */
export interface CheckPlan {
  readonly answer: GenerationPlan
  /** Prompt and counted tokens. */
  readonly tokens: readonly number[]
  readonly completionTokens: number
  readonly wrongPieces: readonly number[]
  readonly unknownAt: number | undefined
  readonly shown: EndingEvidence['shown']
  /** Positions to report, ascending. */
  readonly positions: ReadonlySet<number>
  /** Position of an end token that must explain the ending. */
  readonly endAt: number | undefined
  /** Room that an isolated answer to this request has, prompt included. */
  readonly isolatedTokens: number
}

/** Works out a check, or throws the refusal of what cannot be checked here. */
export function planCheck(model: LoadedModel, task: CheckTask): CheckPlan {
  const answer = planGeneration(model, { ...task, resume: [] })
  if (answer.schema !== undefined) {
    const fix = 'Compare the answer with its schema instead.'
    throw model.cannot('response_format', 'cannot repeat the choices of an answer bound to a grammar', fix)
  }
  const allowed = Math.min(task.maxTokens, task.contextTokens - answer.prompt.length)
  const counted = count(model, task, answer.stops, allowed)
  const { completionTokens, shown, unknownAt } = counted
  const tokens = [...answer.prompt, ...task.tokens.slice(0, completionTokens).map(({ id }) => id)]
  const endAt = shown === 'nothing' && unknownAt === undefined ? completionTokens : undefined
  const { contextTokens } = model.offer
  // The last token is computed only for what follows it, and the library keeps the last place of a context free.
  const needed = tokens.length + (endAt === undefined ? 0 : 1)
  if (needed > contextTokens) throw contextExceeded(contextTokens, needed)
  return {
    answer,
    tokens,
    ...counted,
    wrongPieces: wrongPieces(model, task),
    positions: positionsOf(task, completionTokens),
    endAt,
    isolatedTokens: Math.min(contextTokens, answer.prompt.length + Math.max(allowed, 1)),
  }
}

/** Follows the tokens to where the answer ends by itself, as the engine that made it must have. */
function count(model: LoadedModel, { tokens }: CheckTask, stops: readonly string[], allowed: number) {
  const text = new TextAssembler(stops)
  let completionTokens = 0
  let shown: EndingEvidence['shown'] = allowed > 0 ? 'nothing' : 'length'
  let unknownAt: number | undefined
  for (const [position, { id }] of tokens.entries()) {
    if (shown !== 'nothing' || model.vocabulary.ends(id)) break
    if (id >= model.vocabulary.size) {
      unknownAt = position
      break
    }
    text.push(model.vocabulary.piece(id))
    completionTokens++
    if (text.stopped) shown = 'stop_string'
    else if (completionTokens >= allowed) shown = 'length'
  }
  return { completionTokens, shown, unknownAt }
}

function wrongPieces({ vocabulary }: LoadedModel, { tokens }: CheckTask): number[] {
  const right = ({ id, piece }: CheckTask['tokens'][number]) =>
    id < vocabulary.size && vocabulary.piece(id).equals(piece)
  return tokens.flatMap((token, position) => (right(token) ? [] : [position]))
}

function positionsOf({ positions }: CheckTask, completionTokens: number): Set<number> {
  if (!positions) return new Set(Array.from({ length: completionTokens }, (_, position) => position))
  const counted = positions.filter((position) => position >= 0 && position < completionTokens)
  return new Set(counted.sort((a, b) => a - b))
}
