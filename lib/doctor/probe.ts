/**
 * The probe is preloaded into the application's process (`--import`) before everything else, and watches it start.
 * When a server with this library's plugins is ready, it writes its report and holds the server there: no port is
 * opened and no worker claims jobs.
 *
 * The probe changes nothing of what it observes: it loads no package, and no package is loaded differently because of
 * it.
 */
import { subscribe } from 'node:diagnostics_channel'
import { writeSync } from 'node:fs'
import { createRequire } from 'node:module'
import { PLUGIN } from '../core/plugin-names.ts'
import { REGISTERED_CHANNEL } from '../core/registered-channel.ts'
import type { RouteAccess } from '../core/route-access.ts'
import { isStoreFacts, PARENT_VARIABLE, REPORT_FD, type ProbeReport } from './app-facts.ts'

const API_KEY = Symbol.for('opentelemetry.js.api.1')
/**
 * Packages that instrumentation must see while they are loaded. Both are CommonJS, so every file that has run is in
 * the cache.
 */
const WATCHED = ['fastify', 'ioredis']
const FOLDER = /[\\/]node_modules[\\/]((?:@[^\\/]+[\\/])?[^\\/]+)[\\/](?!.*[\\/]node_modules[\\/])/

const { cache } = createRequire(import.meta.url)

let sdk: ProbeReport['sdk'] = 'none'
let loadedBefore: readonly string[] = []
let publicUrl: string | undefined
/** Called when all endpoints are defined. */
const access: { jobRoutes?: () => unknown, metrics?: () => unknown, store?: () => unknown } = {}
let ours = false

function loadedPackages (): string[] {
  // An ES module's CommonJS imports are in the cache before they have run; `loaded` shows whether they have.
  const names = new Set(Object.entries(cache).map(([file, module]) => module?.loaded === true ? FOLDER.exec(file)?.[1] : undefined))
  return WATCHED.filter((name) => names.has(name))
}

function registered (): void {
  // Only the first registration counts, because the API refuses a second one.
  if (sdk !== 'none') return
  sdk = 'registered'
  loadedBefore = loadedPackages()
}

/**
 * The API keeps all registrations in one global object under one symbol. A tracer provider becomes its property
 * `trace`.
 */
function watchApi (): void {
  const there: unknown = Reflect.get(globalThis, API_KEY)
  if (isObject(there)) {
    if (Reflect.get(there, 'trace') !== undefined) {
      // The provider was preloaded before this file. That is early enough, unless the packages are loaded as well.
      sdk = loadedPackages().length > 0 ? 'unknown' : 'registered'
      return
    }
    watchRegistrations(there)
    return
  }
  let api: unknown
  Object.defineProperty(globalThis, API_KEY, {
    configurable: true,
    enumerable: true,
    get: () => api,
    set: (value: unknown) => {
      api = value
      if (isObject(value)) watchRegistrations(value)
    }
  })
}

function watchRegistrations (api: object): void {
  let provider: unknown
  Object.defineProperty(api, 'trace', {
    configurable: true,
    enumerable: true,
    get: () => provider,
    set: (value: unknown) => {
      provider = value
      if (value !== undefined) registered()
    }
  })
}

function isObject (value: unknown): value is object {
  return typeof value === 'object' && value !== null
}

interface Server {
  addHook (name: 'onReady', hook: () => Promise<void>): unknown
  hasPlugin (name: string): boolean
}

function isServer (value: unknown): value is Server {
  return isObject(value) && typeof Reflect.get(value, 'addHook') === 'function' && typeof Reflect.get(value, 'hasPlugin') === 'function'
}

function watchServers (): void {
  subscribe(REGISTERED_CHANNEL, (message) => {
    ours = true
    const url: unknown = isObject(message) ? Reflect.get(message, 'publicUrl') : undefined
    if (typeof url === 'string') publicUrl = url
    for (const name of ['jobRoutes', 'metrics', 'store'] as const) {
      const ask: unknown = isObject(message) ? Reflect.get(message, name) : undefined
      if (typeof ask === 'function') access[name] = () => ask() as unknown
    }
  })
  subscribe('fastify.initialization', (message) => {
    const server: unknown = isObject(message) ? Reflect.get(message, 'fastify') : undefined
    // This hook is the first one. The hooks that start the worker come after it, and so never run.
    if (isServer(server)) server.addHook('onReady', async () => { if (ours || server.hasPlugin(PLUGIN.jobStore)) await sendReport(server) })
  })
}

/** Never resolves: the doctor kills this process when the report has arrived. */
function sendReport (server: object): Promise<never> {
  const options = optionsOf(server)
  const report: ProbeReport = {
    sdk,
    loadedBefore,
    trustProxy: options === undefined ? undefined : trust(Reflect.get(options, 'trustProxy')),
    https: options !== undefined && Boolean(Reflect.get(options, 'https')),
    publicUrl,
    jobRoutes: accessOf(access.jobRoutes),
    metrics: accessOf(access.metrics),
    store: storeOf(access.store)
  }
  writeSync(REPORT_FD, `${JSON.stringify(report)}\n`)
  return new Promise(() => {})
}

function accessOf (ask: (() => unknown) | undefined): RouteAccess {
  const answer = ask?.()
  return answer === 'guarded' || answer === 'open' || answer === 'left-open' ? answer : 'none'
}

function storeOf (ask: (() => unknown) | undefined): ProbeReport['store'] {
  const facts = ask?.()
  return isStoreFacts(facts) ? facts : undefined
}

/** Fastify keeps its options under a private symbol. */
function optionsOf (server: object): object | undefined {
  const symbol = Object.getOwnPropertySymbols(server).find(({ description }) => description === 'fastify.options')
  const options: unknown = symbol === undefined ? undefined : Reflect.get(server, symbol)
  return isObject(options) ? options : undefined
}

function trust (option: unknown): 'off' | 'some' | 'all' {
  if (option === undefined || option === null || option === false || option === 0) return 'off'
  return option === true ? 'all' : 'some'
}

/** Exits when the doctor is gone: nothing else would end this process, which is held before it listens. */
function endWithParent (): void {
  const parent = process.ppid
  setInterval(() => { if (process.ppid !== parent) process.exit() }, 500).unref()
}

// The application may start child processes, which inherit the preload but not the pipe.
if (process.env[PARENT_VARIABLE] === String(process.ppid)) {
  endWithParent()
  watchApi()
  watchServers()
}
