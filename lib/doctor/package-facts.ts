import { readdirSync, readFileSync, realpathSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'

/** What is installed in a project. Read from its folders; no package is loaded. */
export interface PackageFacts {
  readonly node: string
  /** The `engines.node` of this package. */
  readonly engines: string
  readonly peers: Readonly<Record<string, string>>
  /** Version by name, as the project would load it. A package without an entry is not installed. */
  readonly installed: Readonly<Record<string, string>>
  /** Every copy of `@opentelemetry/api`, with its folder relative to the project. */
  readonly apiCopies: ReadonlyArray<{ readonly path: string, readonly version: string }>
  /** `false`: there were more folders than the doctor searches. */
  readonly complete: boolean
}

const API = '@opentelemetry/api'
/**
 * Searching this many folders takes a few seconds. If there are more, the report says that the search is not complete.
 */
const MAX_FOLDERS = 30_000
const MANIFEST = new URL('../../../package.json', import.meta.url)

/** @param project the folder with the `package.json` and `node_modules` of the application */
export function readPackages (project: string, nodeVersion: string = process.version): PackageFacts {
  const manifest = readJson(MANIFEST)
  const peers = texts(manifest['peerDependencies'])
  const installed: Record<string, string> = {}
  for (const name of Object.keys(peers)) {
    const version = installedVersion(project, name)
    if (version !== undefined) installed[name] = version
  }
  const { copies, complete } = findCopies(project)
  return { node: nodeVersion, engines: texts(manifest['engines'])['node'] ?? '', peers, installed, apiCopies: copies, complete }
}

/**
 * The modules that the scripts of the project's `package.json` preload: the arguments of `--import` and `--require`.
 */
export function preloadsOfScripts (project: string): string[] {
  const scripts = Object.values(texts(readJson(join(project, 'package.json'))['scripts']))
  const found = scripts.flatMap((script) => [...script.matchAll(/(?:^|\s)(?:--import|--require|-r)[\s=]+["']?([^\s"']+)/g)].map((match) => match[1] ?? ''))
  return [...new Set(found)]
}

/** The version that Node would load from there: the one in the nearest `node_modules` upwards. */
function installedVersion (project: string, name: string): string | undefined {
  for (const folder of upwards(project)) {
    const version = versionAt(join(folder, 'node_modules', name))
    if (version !== undefined) return version
  }
  return undefined
}

function versionAt (folder: string): string | undefined {
  const { version } = readJson(join(folder, 'package.json'))
  return typeof version === 'string' ? version : undefined
}

/** The folder and all above it. */
function * upwards (folder: string): Generator<string> {
  for (let at = folder; ; at = dirname(at)) {
    yield at
    if (dirname(at) === at) return
  }
}

/** Searches every `node_modules` from which code of this project may load. */
function findCopies (project: string): { copies: Array<{ path: string, version: string }>, complete: boolean } {
  const copies = new Map<string, string>()
  // Symbolic links (workspaces, pnpm) can lead to one folder several times, and in circles.
  const seen = new Set<string>()
  const open = [...upwards(project)].map((folder) => join(folder, 'node_modules'))
  for (let modules = open.pop(); modules !== undefined; modules = open.pop()) {
    if (seen.size >= MAX_FOLDERS) return { copies: listed(copies, project), complete: false }
    const real = realPath(modules)
    if (real === undefined || seen.has(real)) continue
    seen.add(real)
    for (const folder of packagesIn(real)) {
      const place = realPath(folder)
      if (place === undefined || seen.has(place)) continue
      seen.add(place)
      const version = folder.endsWith(`/${API}`) ? versionAt(place) : undefined
      if (version !== undefined) copies.set(place, version)
      open.push(join(place, 'node_modules'))
    }
  }
  return { copies: listed(copies, project), complete: true }
}

function listed (copies: ReadonlyMap<string, string>, project: string): Array<{ path: string, version: string }> {
  return [...copies].map(([path, version]) => ({ path: relative(realPath(project) ?? project, path), version })).sort((a, b) => a.path.localeCompare(b.path))
}

/** The folders of packages. Scoped packages are one level deeper, and pnpm keeps each package in a separate folder. */
function packagesIn (modules: string): string[] {
  const folders: string[] = []
  for (const name of namesIn(modules)) {
    const folder = join(modules, name)
    if (name === '.pnpm') folders.push(...namesIn(folder).map((entry) => join(folder, entry)))
    else if (name.startsWith('@')) folders.push(...namesIn(folder).map((entry) => join(folder, entry)))
    else if (!name.startsWith('.')) folders.push(folder)
  }
  return folders
}

function namesIn (folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

function realPath (path: string): string | undefined {
  try {
    return realpathSync(path)
  } catch {
    return undefined
  }
}

function readJson (file: string | URL): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(readFileSync(file, 'utf8'))
    return typeof value === 'object' && value !== null ? { ...value } : {}
  } catch {
    return {}
  }
}

function texts (value: unknown): Record<string, string> {
  return Object.fromEntries(Object.entries(Object(value)).filter((entry): entry is [string, string] => typeof entry[1] === 'string'))
}
