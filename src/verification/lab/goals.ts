import type { LabPlan, LabRow } from './run-lab.ts'

/** What the product promises, and what was found. */
export interface Goal {
  readonly goal: string
  readonly limit: number
  readonly expected: number | null
  readonly measured: number
  readonly met: boolean
}

/** Mean delays in requests. Those of a 30 % cheater are promises only where the run's cheaters cheat at 30 %. */
const delays: readonly {
  readonly name: string
  readonly goal: string
  readonly limit: number
  readonly at30: boolean
}[] = [
  { name: 'cached', goal: 'newcomer that cheats on 30 %, requests', limit: 15, at30: true },
  { name: 'turncoat', goal: 'turncoat after 2,000 good answers, requests', limit: 70, at30: true },
  { name: 'turncoat_late', goal: 'turncoat after 20,000 good answers, requests', limit: 130, at30: true },
  { name: 'sparse', goal: 'newcomer that cheats on 3 %, requests', limit: 300, at30: false },
]

export function goalsOf(
  plan: Pick<LabPlan, 'rate'>,
  rows: readonly LabRow[],
  honest: { readonly falseConvictions: number; readonly checkRate: number; readonly expectedCheckRate: number },
): Goal[] {
  const found = delays.flatMap(({ name, goal, limit, at30 }): Goal[] => {
    const row = rows.find((one) => one.name === name)
    if (!row || (at30 && plan.rate !== 0.3)) return []
    return [goalOf(goal, limit, row.measured.delayMean, row.expected.delayMean)]
  })
  const { falseConvictions, checkRate, expectedCheckRate } = honest
  return [
    ...found,
    goalOf('false convictions', 0, falseConvictions, null),
    goalOf('honest requests checked, %', 5, 100 * checkRate, 100 * expectedCheckRate),
  ]
}

/** Met only where theory says so, too: luck is no promise. */
function goalOf(goal: string, limit: number, measured: number, expected: number | null): Goal {
  return { goal, limit, expected, measured, met: measured <= limit && (expected ?? 0) <= limit }
}
