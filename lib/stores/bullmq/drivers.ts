/** Loads the optional packages bullmq and ioredis. */
import { unsupported } from './errors.ts'
import type { IoRedis } from './clients.ts'
import type { Bull } from './internals.ts'

/** The packages that only this store needs: optional, and loaded when it opens. */
export interface Drivers {
  readonly bull: Bull
  readonly ioredis: IoRedis
}

type Load = (name: string) => Promise<unknown>

/** @throws {AsyncEndpointsError} `FAE_STORE_UNSUPPORTED` with what to install, when one of them is missing */
export async function loadDrivers (load: Load = loadPackage): Promise<Drivers> {
  const [bull, ioredis] = await Promise.all([required(load, 'bullmq', isBull), required(load, 'ioredis', isIoRedis)])
  return { bull, ioredis }
}

/** For who only looks at a server. @throws {AsyncEndpointsError} as {@link loadDrivers} does */
export function loadIoRedis (load: Load = loadPackage): Promise<IoRedis> {
  return required(load, 'ioredis', isIoRedis)
}

// Written out, so that bundlers see them.
async function loadPackage (name: string): Promise<unknown> {
  return name === 'bullmq' ? await import('bullmq') : await import('ioredis')
}

async function required<T> (load: Load, name: string, fits: (module: unknown) => module is T): Promise<T> {
  let module: unknown
  try {
    module = await load(name)
  } catch (cause) {
    throw unsupported(`redisStore() needs the package ${name}, which could not be loaded (${cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown error'}); install both: npm install bullmq ioredis`)
  }
  if (!fits(module)) throw unsupported(`This version of the package ${name} is not supported; install a newer one: npm install bullmq ioredis`)
  return module
}

function isBull (module: unknown): module is Bull {
  return hasFunctions(module, ['Queue', 'Worker', 'createRedisBackend', 'RedisConnection'])
}

function isIoRedis (module: unknown): module is IoRedis {
  return hasFunctions(module, ['Redis', 'Cluster'])
}

function hasFunctions (module: unknown, names: readonly string[]): boolean {
  return typeof module === 'object' && module !== null && names.every((name) => typeof Reflect.get(module, name) === 'function')
}
