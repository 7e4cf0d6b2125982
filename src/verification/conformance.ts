import { z } from 'zod'
import {
  type ConformanceOp,
  conformanceOp,
  epochCommitment,
  hexSchema,
  type OpResult,
  refused,
  selects,
} from '#protocol'
import { type Charts, chartDefaults, newCharts, reputationLimits, updateCharts } from '#reputation'
import { verificationLimits } from './limits.ts'
import { type Ending, judgeMargin, marginDefaults, type Position } from './margin.ts'
import { judgeQuorum } from './quorum.ts'
import { pickSome } from './sampling.ts'

const { pickFromMax, questionItemsMax, quorumMax } = verificationLimits

const bytes32 = hexSchema.refine((bytes) => bytes.length === 32, '32 bytes')
const sampleSchema = z.strictObject({
  epoch_key: bytes32,
  statement_hash: bytes32,
  q_ppm: z.int().min(0).max(1_000_000),
  pick: z
    .strictObject({
      label: z.enum(['verifier', 'position', 'canary']),
      n: z.int().min(1).max(pickFromMax),
      count: z.int().min(1).max(questionItemsMax),
    })
    .refine(({ n, count }) => count <= n, 'nobody picks more than there are')
    .optional(),
})

function decideSampling({ epoch_key, statement_hash, q_ppm, pick }: z.infer<typeof sampleSchema>): OpResult {
  const sample = { epochKey: epoch_key, statementHash: statement_hash }
  const picked = pick ? { picked: pickSome({ ...sample, ...pick }) } : {}
  const commitment = epochCommitment(epoch_key).toString('hex')
  return { ok: true, output: { commitment, selected: selects({ ...sample, qPpm: q_ppm }), ...picked } }
}

/** Closer to 0 or 1 nothing is ever measured, and a chart would not move by a whole micronat. */
const share = z.number().min(1e-6).lt(1)
const chartSchema = z
  .strictObject({
    cheat_rates: z.array(z.number().min(1e-6).lte(1)).min(1).max(reputationLimits.chartsMax).optional(),
    honest_hit_rate: share.optional(),
    sensitivity: share.optional(),
    false_alarm_per_check_max: share.optional(),
    heights: z.array(z.int().min(0)).max(reputationLimits.chartsMax).optional(),
    outcomes: z.array(z.enum(['clean', 'hit'])).max(questionItemsMax),
  })
  .transform(({ heights, outcomes, ...given }) => ({
    heights,
    outcomes,
    params: {
      cheatRates: given.cheat_rates ?? chartDefaults.cheatRates,
      honestHitRate: given.honest_hit_rate ?? chartDefaults.honestHitRate,
      sensitivity: given.sensitivity ?? chartDefaults.sensitivity,
      falseAlarmPerCheckMax: given.false_alarm_per_check_max ?? chartDefaults.falseAlarmPerCheckMax,
    },
  }))

function updateByAll({ params, heights, outcomes }: z.infer<typeof chartSchema>): OpResult {
  if (params.honestHitRate >= params.sensitivity)
    return refused('invalid_input', 'honest_hit_rate: it must be below sensitivity')
  if (heights && heights.length !== params.cheatRates.length)
    return refused('invalid_input', 'heights: there is one for each of cheat_rates')
  let charts: Charts = newCharts(params, heights)
  let alarmAt: number | null = null
  for (const [i, outcome] of outcomes.entries()) {
    const next = updateCharts(charts, outcome)
    charts = next.charts
    if (next.alarm) alarmAt ??= i + 1
  }
  const above = charts.heights.some((height) => height > 0)
  return { ok: true, output: { heights: charts.heights, alarm_height: charts.alarmHeight, above, alarm_at: alarmAt } }
}

const logit = z.number().min(-1e9).max(1e9)
const positionSchema = z
  .strictObject({
    chosen: logit.nullable(),
    best: logit,
    noise_chosen: logit.optional(),
    noise_best: logit.optional(),
  })
  .transform(
    ({ chosen, best, noise_chosen, noise_best }): Position => ({
      chosenLogit: chosen ?? Number.NEGATIVE_INFINITY,
      bestLogit: best,
      noiseChosen: noise_chosen ?? 0,
      noiseBest: noise_best ?? 0,
    }),
  )
const endingSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('end_token'), position: positionSchema }),
  z.strictObject({ kind: z.enum(['stop_string', 'max_tokens', 'cancelled', 'unexplained']) }),
])
const marginSchema = z.strictObject({
  positions: z.array(positionSchema).max(questionItemsMax),
  ending: endingSchema.transform(
    (ending): Ending => (ending.kind === 'end_token' ? { kind: ending.kind, ...ending.position } : ending),
  ),
  thresholds: z.strictObject({ mean: z.number().min(0), position: z.number().min(0) }).default(marginDefaults),
})

const donor = z.string().min(1).max(200)
const quorumSchema = z
  .strictObject({
    results: z.array(z.strictObject({ worker: donor, operator: donor, digest: donor })).max(quorumMax),
    agree: z.int().min(1),
    of: z.int().min(1).max(quorumMax),
  })
  .refine(({ agree, of }) => agree <= of && 2 * agree > of, 'agree must be more than half of, and not more than, of')

/** Operations of the judges; docs/reference/conformance.md shows an example of each. */
export const verificationOps: Readonly<Record<string, ConformanceOp>> = {
  'sampling.decide': conformanceOp(sampleSchema, decideSampling),
  'chart.update': conformanceOp(chartSchema, updateByAll),
  'margin.judge': conformanceOp(marginSchema, (input) => ({ ok: true, output: judgeMargin(input) })),
  'quorum.judge': conformanceOp(quorumSchema, ({ results, ...rule }) => ({
    ok: true,
    output: judgeQuorum(results, rule),
  })),
}
