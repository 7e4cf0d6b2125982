import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { annexes, floors } from './architecture.ts'

const root = import.meta.dirname
const rooms = readdirSync(root, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map((entry) => entry.name)

interface Source {
  room: string
  file: string
  text: string
  isTest: boolean
}

const sources: Source[] = rooms.flatMap((room) =>
  readdirSync(path.join(root, room), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => ({
      room,
      file: `src/${room}/${file}`,
      text: readFileSync(path.join(root, room, file), 'utf8'),
      isTest: /\.(test|bench)\.ts$/.test(file),
    })),
)
const shipped = sources.filter((source) => !source.isTest && source.room !== 'testkit')

/** Import specifiers of a file, static and dynamic. Comments are removed first. */
function importsOf(text: string): string[] {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '')
  return [...code.matchAll(/(?:from\s+|import\s*\(\s*|import\s+)['"]([^'"]+)['"]/g)].map((match) => match[1] ?? '')
}

const floorOf = (room: string) => floors.findIndex((floor) => floor.includes(room))

test('every folder under src is a room with a floor and a door that introduces itself', () => {
  const wrong = rooms.flatMap((room) => {
    const known = floorOf(room) >= 0 || room in annexes
    const door = sources.find((source) => source.file === `src/${room}/index.ts`)
    if (!known) return [`src/${room} stands on no floor; name it in src/architecture.ts`]
    if (room === 'bin') return []
    if (!door) return [`src/${room} has no door (index.ts)`]
    return /^\/\*\*/.test(door.text) ? [] : [`${door.file} does not introduce the room in its first lines`]
  })
  expect(wrong).toEqual([])
})

test('a room imports lower floors only, and only through their doors', () => {
  const wrong = shipped.flatMap(({ room, file, text }) =>
    importsOf(text).flatMap((specifier) => {
      if (specifier.startsWith('.')) {
        const target = path.relative(root, path.resolve(root, '..', path.dirname(file), specifier))
        return target.startsWith(`${room}/`) || target.startsWith('..')
          ? []
          : [`${file} reaches into ${target}; use the door #${target.split('/')[0]}`]
      }
      if (!specifier.startsWith('#')) return []
      const other = specifier.slice(1)
      if (room in annexes) return annexes[room]?.includes(other) ? [] : [`${file} may not import #${other}`]
      return floorOf(other) >= 0 && floorOf(other) < floorOf(room)
        ? []
        : [`${file} (floor ${floorOf(room)}) may not import #${other} (floor ${floorOf(other)})`]
    }),
  )
  expect(wrong).toEqual([])
})

test('only config reads the environment, only runtime reads the clock and throws dice', () => {
  const rules: [string, RegExp, string][] = [
    ['config', /\bprocess\.env\b/, 'reads process.env'],
    ['runtime', /\bDate\.now\(|\bnew Date\(\)|\bperformance\.now\(/, 'reads the clock'],
    ['runtime', /\bMath\.random\(|\brandomBytes\s*\(\s*\d|\brandomUUID\(|\brandomFillSync\(/, 'throws dice'],
    ['runtime', /(?<![.\w])set(?:Timeout|Interval)\(/, 'sets a timer'],
  ]
  const wrong = shipped.flatMap(({ room, file, text }) => {
    const code = text
      .replace(/\/\*[\s\S]*?\*\//g, '')
      .replace(/\/\/.*$/gm, '')
      .replace(/runtime\.randomBytes\(/g, '')
    return rules
      .filter(([home, pattern]) => room !== home && pattern.test(code))
      .map(([home, , what]) => `${file} ${what}; that belongs to src/${home}`)
  })
  expect(wrong).toEqual([])
})

test('shipped code never imports the test kit', () => {
  expect(shipped.filter(({ text }) => importsOf(text).includes('#testkit')).map(({ file }) => file)).toEqual([])
})

test('the floor test itself can fail', () => {
  expect(importsOf(`import { a } from '#jobs'\nawait import('#api')\n// from '#bin'`)).toEqual(['#jobs', '#api'])
})
