import path from 'node:path'
import { packageRoot } from '#config'

/** The toy that is lent when nobody names a model. */
export const demoModelFile = path.join(packageRoot, 'models', 'lichen-demo.gguf')
export const demoModelName = 'lichen-demo'
