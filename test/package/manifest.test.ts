import { readFileSync } from 'node:fs'
import t from 'tap'
import * as testing from '../../lib/testing/index.ts'
import * as face from '../../plugins/async-endpoints.ts'

const read = (name: string): string => readFileSync(new URL(`../../../${name}`, import.meta.url), 'utf8')

t.test('the package exports exactly this', async (t) => {
  t.strictSame(Object.keys(face).sort(), [
    'AsyncEndpointsError', 'ERROR_TABLE', 'alerts', 'asyncEndpoints', 'cancel', 'default', 'defineMetrics', 'discard', 'health', 'isAsyncEndpointsError',
    'jobStore', 'memoryStore', 'observability', 'openApiTransform', 'redisStore', 'snooze', 'webhookPublicKey', 'worker'
  ])
  t.equal(face.default, face.asyncEndpoints)
  t.strictSame(Object.keys(testing).sort(), ['FakeClock', 'createContext', 'exerciseJobStore', 'recordingMetrics'])
})

t.test('the lock file names no registry and misses no optional package', async (t) => {
  const lock = JSON.parse(read('package-lock.json')) as { packages: Record<string, { resolved?: string, optionalDependencies?: Record<string, string>, version?: string }> }
  t.strictSame(Object.entries(lock.packages).filter(([, { resolved }]) => resolved !== undefined).map(([path]) => path), [])
  // npm drops the packages of other platforms from a lock file that it makes beside an installed tree, and then refuses `npm ci`.
  const missing: string[] = []
  for (const [path, { optionalDependencies = {} }] of Object.entries(lock.packages)) {
    for (const name of Object.keys(optionalDependencies)) {
      const folders = path.split('/node_modules/').map((_, index, parts) => parts.slice(0, index + 1).join('/node_modules/'))
      const places = [`node_modules/${name}`, ...folders.map((folder) => `${folder}/node_modules/${name}`)]
      if (!places.some((place) => lock.packages[place] !== undefined)) missing.push(`${name} of ${path}`)
    }
  }
  t.strictSame(missing, [])
})

t.test('Redis libraries stay optional', async (t) => {
  const manifest = JSON.parse(read('package.json')) as Record<string, Record<string, unknown>>
  for (const name of ['bullmq', 'ioredis']) {
    t.notOk(manifest['dependencies']?.[name])
    t.match(manifest['peerDependenciesMeta']?.[name], { optional: true })
  }
})
