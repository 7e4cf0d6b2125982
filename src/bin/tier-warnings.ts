import type { OfferedModels } from '#api'
import type { Settings } from '#config'

/** What would be missed next: a tier that is down, or one that hangs on a single worker. */
export function tierWarnings({ tier }: Pick<Settings, 'tier'>, offered: Pick<OfferedModels, 'workersWith'>): string[] {
  return tier.flatMap(({ name, models }) => {
    const workers = offered.workersWith(models)
    if (workers > 1) return []
    return workers === 1
      ? [`Tier ${name} hangs on one worker: add another that lends ${models.join(' or ')}.`]
      : [`Tier ${name} is down: no worker lends ${models.join(' or ')}.`]
  })
}
