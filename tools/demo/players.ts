import path from 'node:path'
import { demoModelPath, type Neighbourhood } from '../../src/testkit/neighbourhood.ts'
import { writeRandomModel } from '../demo-model/random-model.ts'

/** A worker of the demo and what its operator does with it. */
export interface Player {
  readonly operator: string
  readonly does: string
  readonly cheats: boolean
  readonly id: string
}

/** A build that every processor of this architecture can run, and whose bits differ from those of the best one. */
const plainBuild = process.arch === 'arm64' ? 'armv8.0_1' : 'x64'
/** Share of its requests that each cheat cheats on. */
const rate = 0.3

/** Two honest workers of two kernel classes and four cheats, each of an operator of its own, join the pool of the neighbourhood. */
export async function* joinPlayers(town: Neighbourhood): AsyncGenerator<Player> {
  const other = path.join(town.folder, 'other.gguf')
  writeRandomModel(other, { dim: 64, layers: 2, heads: 4, kvHeads: 2, ff: 128, context: 2048, seed: 5, quant: 'q8_0' })
  const model = demoModelPath
  const plans = [
    { operator: 'ann', does: 'is honest', plan: { cheat: 'honest' } },
    { operator: 'bob', does: 'is honest, on another kernel class', plan: { cheat: 'honest', cpuBuild: plainBuild } },
    { operator: 'carl', does: "gives another model's answers", plan: { cheat: 'substitute', otherModel: other } },
    { operator: 'dora', does: 'stops early', plan: { cheat: 'stops_early' } },
    { operator: 'emil', does: 'edits text after committing to it', plan: { cheat: 'edits' } },
    { operator: 'finn', does: 'answers from a cache', plan: { cheat: 'caches' } },
  ] as const
  for (const { operator, does, plan } of plans) {
    const { id } = await town.joinCheat(operator, { model, rate, ...plan })
    const cheats = plan.cheat !== 'honest'
    yield { operator, does: cheats ? `${does}, ${rate * 100} %` : does, cheats, id }
  }
}
