import { z } from 'zod'

/** 32 bytes as ids, digests and hashes are written: 64 lowercase hex digits. */
export const hex64 = z.string().regex(/^[0-9a-f]{64}$/, '64 lowercase hex digits')
