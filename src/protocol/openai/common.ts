import { z } from 'zod'
import { assuranceLevels } from '../assurance.ts'
import { protocolLimits } from '../limits.ts'

/** How the answer is checked; ours, not OpenAI's. The header `x-lichen-assurance` says the same. */
export const assurance = z.enum(assuranceLevels).nullish()

/** Parameters that chat and text completions share. Types and ranges are OpenAI's; `null` means "not given". */
export const samplingFields = {
  /** −2 … 2. */
  frequency_penalty: z.number().min(-2).max(2).nullish(),
  /** −2 … 2. */
  presence_penalty: z.number().min(-2).max(2).nullish(),
  /** Token id → −100 … 100. */
  logit_bias: z
    .record(z.string().regex(/^\d{1,10}$/, 'the number of a token'), z.number().min(-100).max(100))
    .nullish(),
  n: z.int().min(1).max(128).nullish(),
  /** A signed 64-bit integer; beyond 2^53 its last digits are lost, for every attempt alike. */
  seed: z
    .number()
    .multipleOf(1)
    .min(-(2 ** 63))
    .max(2 ** 63)
    .nullish(),
  stop: z
    .union([
      z.string().max(protocolLimits.stopCharsMax),
      z.array(z.string().max(protocolLimits.stopCharsMax)).max(protocolLimits.stopsMax),
    ])
    .nullish(),
  stream: z.boolean().nullish(),
  stream_options: z
    .strictObject({ include_usage: z.boolean().nullish(), include_obfuscation: z.boolean().nullish() })
    .nullish(),
  /** 0 … 2. */
  temperature: z.number().min(0).max(2).nullish(),
  /** 0 … 1. */
  top_p: z.number().min(0).max(1).nullish(),
  user: z.string().nullish(),
  assurance,
} as const

/** The name of a model; whether anyone offers it is not decided here. */
export const modelName = z.string().min(1).max(protocolLimits.modelNameCharsMax)

/** An object whose members mean nothing to us: accepted, never read. */
export const inertObject = z.record(z.string(), z.unknown())
