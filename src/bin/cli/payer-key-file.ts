import path from 'node:path'
import { adminKeyFolder } from '#config'

/** Where a payer's private key lies on their own machine, unless they say otherwise. */
export const payerKeyFile = (): string => path.join(path.dirname(adminKeyFolder()), 'payer-keys', 'default.key')
