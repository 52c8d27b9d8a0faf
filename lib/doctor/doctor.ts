import { isAbsolute, relative, resolve } from 'node:path'
import type { Clock } from '../core/context.ts'
import { isAsyncEndpointsError } from '../core/errors.ts'
import { loadIoRedis } from '../stores/bullmq/drivers.ts'
import { readOtelEnvironment } from '../telemetry/environment.ts'
import { checkApp } from './app-checks.ts'
import type { AppFacts } from './app-facts.ts'
import type { DoctorRequest } from './arguments.ts'
import { checkEventLoop, measureEventLoop } from './event-loop.ts'
import { CHECK_IDS, type Finding } from './findings.ts'
import { readApp } from './read-app.ts'
import { readRedis } from './read-redis.ts'
import { checkExporters, checkPackages } from './package-checks.ts'
import { readPackages, preloadsOfScripts } from './package-facts.ts'
import { checkRedis, redisNotChecked } from './redis-checks.ts'
import { otherServer, placeOf, type Place } from './store-place.ts'

/**
 * The limit for all questions to the server, and for everything with a deadline together. The program ends within 15
 * seconds.
 */
const REDIS_MS = 8_000
const ALL_MS = 13_500

type Variables = Readonly<Record<string, string | undefined>>

export interface Surroundings {
  /** The folder of the project. */
  readonly cwd: string
  readonly env: Variables
  readonly clock: Clock
  /** How long the event loop is measured. */
  readonly eventLoopMs?: number
}

/**
 * Reads the facts, then judges them. Every check of the table gives at least one finding, in the order of the table.
 */
export async function examine (
  request: DoctorRequest, { cwd, env, clock, eventLoopMs }: Surroundings
): Promise<Finding[]> {
  const begin = clock.monotonic()
  const packages = readPackages(cwd)
  // First, because it shows which store to check.
  const app: AppFacts = request.app === undefined ? { state: 'not-given' } : await readApp({ file: request.app, imports: request.imports, requires: request.requires, cwd, env }, clock)
  const place = placeOf(request, app)
  const redis = await examineRedis(place, clock, Math.min(REDIS_MS, ALL_MS - (clock.monotonic() - begin)))
  // Last, when this process has nothing else to do.
  const eventLoop = await measureEventLoop(clock, eventLoopMs)
  const onRedis = 'target' in place
  const findings = [
    ...redis,
    ...checkPackages(packages, onRedis),
    ...checkExporters(readOtelEnvironment(env), packages, app),
    ...checkApp(app, request.app === undefined ? [] : preloadsLeftOut(request, cwd, env), otherServer(request, app)),
    checkEventLoop(eventLoop, onRedis ? place.leaseMs : undefined)
  ]
  return findings.toSorted((a, b) => CHECK_IDS.indexOf(a.check) - CHECK_IDS.indexOf(b.check))
}

async function examineRedis (place: Place, clock: Clock, totalMs: number): Promise<Finding[]> {
  if (!('target' in place)) return redisNotChecked(place.because, place.fix)
  let ioredis
  try {
    ioredis = await loadIoRedis()
  } catch (error) {
    if (!isAsyncEndpointsError(error, 'FAE_STORE_UNSUPPORTED')) throw error
    return redisNotChecked('the package ioredis is missing or too old', 'npm install bullmq ioredis')
  }
  return checkRedis(await readRedis(ioredis, place.target, clock, totalMs))
}

/**
 * The modules that the project's scripts preload but this start did not. Without them the start is not the real one.
 */
function preloadsLeftOut ({ imports, requires }: DoctorRequest, cwd: string, env: Variables): string[] {
  const given = new Set([...imports, ...requires].map((name) => same(name, cwd)))
  const inherited = env['NODE_OPTIONS'] ?? ''
  return preloadsOfScripts(cwd).filter((name) => !given.has(same(name, cwd)) && !inherited.includes(name))
}

/** `./otel.js`, `otel.js` and the absolute path are one file. */
function same (name: string, cwd: string): string {
  return name.startsWith('.') || isAbsolute(name) ? relative(cwd, resolve(cwd, name)) : name
}
