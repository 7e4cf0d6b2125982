/**
 * Config: what the operator said, from flags, the environment, `lichen.toml` and the defaults.
 *
 * Owns    the table of settings, their precedence and their refusals; the only reader of the environment.
 * Imports nothing.
 * Always  a setting nobody knows, or two that contradict each other, stop the program with the fix.
 */
export { ConfigError } from './config-error.ts'
export { adminKeyFolder, childEnvironment, surroundings } from './environment.ts'
export { childProgram, packageRoot, packageVersion } from './installation.ts'
export { parseDuration } from './kinds.ts'
export { loadSettings } from './load-settings.ts'
export { nearest } from './nearest.ts'
export { ownCommand } from './own-command.ts'
export { isLoopback, refuseInsecureBind } from './refuse-contradictions.ts'
export {
  defaultTextOf,
  flagOf,
  type SettingName,
  type Settings,
  settingNames,
  settingsTable,
} from './settings-table.ts'
