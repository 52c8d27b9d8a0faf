/**
 * Is preloaded into the process of the application (`--import`), before everything else, and watches it start. It says
 * what it saw when a server with our plugins is ready to begin, and holds it there: no port is opened, no worker claims.
 *
 * Nothing of what it looks at is changed by looking: no package is loaded from here, none is loaded in another way.
 */
import { subscribe } from 'node:diagnostics_channel'
import { writeSync } from 'node:fs'
import { createRequire } from 'node:module'
import { PLUGIN } from '../core/plugin-names.ts'
import { REGISTERED_CHANNEL } from '../core/registered-channel.ts'
import type { RouteAccess } from '../core/route-access.ts'
import { isStoreFacts, PARENT_VARIABLE, REPORT_FD, type ProbeReport } from './app-facts.ts'

const API_KEY = Symbol.for('opentelemetry.js.api.1')
/** Packages that instrumentation has to see being loaded. Both are CommonJS: every file of theirs that has run is in the cache. */
const WATCHED = ['fastify', 'ioredis']
const FOLDER = /[\\/]node_modules[\\/]((?:@[^\\/]+[\\/])?[^\\/]+)[\\/](?!.*[\\/]node_modules[\\/])/

const { cache } = createRequire(import.meta.url)

let sdk: ProbeReport['sdk'] = 'none'
let loadedBefore: readonly string[] = []
let publicUrl: string | undefined
/** Asked when all endpoints are defined. */
const access: { jobRoutes?: () => unknown, metrics?: () => unknown, store?: () => unknown } = {}
let ours = false

function loadedPackages (): string[] {
  // What a module of the new kind imports is in the cache before it runs.
  const names = new Set(Object.entries(cache).map(([file, module]) => module?.loaded === true ? FOLDER.exec(file)?.[1] : undefined))
  return WATCHED.filter((name) => names.has(name))
}

function registered (): void {
  // The first registration counts: a second one is refused by the API.
  if (sdk !== 'none') return
  sdk = 'registered'
  loadedBefore = loadedPackages()
}

/** The API keeps what is registered in one object under one symbol; a provider becomes its property `trace`. */
function watchApi (): void {
  const there: unknown = Reflect.get(globalThis, API_KEY)
  if (isObject(there)) {
    if (Reflect.get(there, 'trace') !== undefined) {
      // Preloaded before this file. Too early for anything to be wrong, unless the packages are there as well.
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
    // The first hook of all: those that start the worker come after it, and so never run.
    if (isServer(server)) server.addHook('onReady', async () => { if (ours || server.hasPlugin(PLUGIN.jobStore)) await tell(server) })
  })
}

/** Never resolves: who started this process ends it when the report has arrived. */
function tell (server: object): Promise<never> {
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
  return answer === 'guarded' || answer === 'open' || answer === 'left open' ? answer : 'none'
}

function storeOf (ask: (() => unknown) | undefined): ProbeReport['store'] {
  const facts = ask?.()
  return isStoreFacts(facts) ? facts : undefined
}

/** Fastify keeps its options under a symbol of its own. */
function optionsOf (server: object): object | undefined {
  const symbol = Object.getOwnPropertySymbols(server).find(({ description }) => description === 'fastify.options')
  const options: unknown = symbol === undefined ? undefined : Reflect.get(server, symbol)
  return isObject(options) ? options : undefined
}

function trust (option: unknown): 'off' | 'some' | 'all' {
  if (option === undefined || option === null || option === false || option === 0) return 'off'
  return option === true ? 'all' : 'some'
}

/** Nobody is left who could end this process, which would stand still for ever. */
function endWithParent (): void {
  const parent = process.ppid
  setInterval(() => { if (process.ppid !== parent) process.exit() }, 500).unref()
}

// The application may start processes of its own, which inherit the preload and not the pipe.
if (process.env[PARENT_VARIABLE] === String(process.ppid)) {
  endWithParent()
  watchApi()
  watchServers()
}
