import type { AppFacts } from './app-facts.ts'
import { shownConnection } from '../stores/bullmq/redis-url.ts'
import { found, notChecked, type CheckId, type Finding } from './findings.ts'

const APP_CHECKS = ['app.boot', 'app.store', 'otel.sdk', 'app.proxy', 'app.job-routes', 'app.metrics'] as const satisfies readonly CheckId[]

const GIVE_ENTRY_FILE = 'Give the file that registers asyncEndpoints and calls listen() or ready(), as you give it to node'
const NAME_PROXIES = 'Fastify({ trustProxy: \'10.0.0.0/8\' }) with the addresses of your proxies'

/**
 * @param preloads modules that the scripts of package.json preload, but this start of the application did not
 * @param otherServer the server that --redis-url or REDIS_URL names, if the application uses another store
 */
export function checkApp (facts: AppFacts, preloads: readonly string[], otherServer?: string): Finding[] {
  switch (facts.state) {
    case 'not-given': return APP_CHECKS.map((id) => {
      const fix = 'fastify-async-endpoints doctor --app ./server.js'
      return notChecked(id, 'no application was given', id === 'app.boot' ? fix : undefined)
    })
    case 'missing': return notReady(found('app.boot', 'problem', 'the file does not exist', 'Give the file that starts the server, as you give it to node'))
    // Somebody who asked for these checks must not take their absence for success.
    case 'timeout': {
      return notReady(found('app.boot', 'problem', `no server with this plugin was ready within ${facts.afterMs / 1_000} s`, GIVE_ENTRY_FILE))
    }
    case 'ended': return notReady(facts.exitCode === 0
      ? found('app.boot', 'problem', 'the process ended before a server with this plugin was ready', GIVE_ENTRY_FILE)
      : found('app.boot', 'problem', `the process ended (${facts.signal ?? `exit code ${facts.exitCode ?? 'unknown'}`}) before the server was ready`,
        'Start it with the same environment and read what it prints'))
    case 'ready': return [
      found('app.boot', 'ok', 'the server is ready to listen'), checkStore(facts, otherServer), checkSdk(facts, preloads), checkProxy(facts),
      checkJobRoutes(facts), checkMetrics(facts)
    ]
  }
}

function notReady (boot: Finding): Finding[] {
  return APP_CHECKS.map((id) => id === 'app.boot' ? boot : notChecked(id, 'the application did not become ready'))
}

function checkStore ({ store }: Extract<AppFacts, { state: 'ready' }>, otherServer: string | undefined): Finding {
  const id = 'app.store'
  if (store === undefined) return notChecked(id, 'the application does not show where it keeps its jobs')
  if (store.redis !== undefined) {
    const where = `${shownConnection(store.redis.connection)}, prefix ${store.redis.prefix}`
    return otherServer === undefined
      ? found(id, 'ok', `jobs are kept on ${where}`)
      : found(id, 'warning', `jobs are kept on ${where}, and not on ${otherServer}, which --redis-url or REDIS_URL names`,
        'Give the application and the doctor the same URL; the findings about Redis are about the server that the application uses')
  }
  if (store.type !== 'memory') return found(id, 'ok', `jobs are kept in a store of type ${store.type}`)
  if (otherServer !== undefined) {
    return found(id, 'warning', `jobs are kept in memory, and not on ${otherServer}, which --redis-url or REDIS_URL names`,
      'asyncEndpoints: { store: redisStore({ url: process.env.REDIS_URL }) }')
  }
  return found(id, 'note', 'jobs are kept in memory: they are lost when the process ends, and no other process sees them',
    'asyncEndpoints: { store: redisStore({ url: process.env.REDIS_URL }) } for more than one process')
}

function checkSdk ({ sdk, loadedBefore }: Extract<AppFacts, { state: 'ready' }>, preloads: readonly string[]): Finding {
  const id = 'otel.sdk'
  if (sdk === 'registered' && loadedBefore.length === 0) {
    return found(id, 'ok', 'a tracer provider was registered before fastify and ioredis were loaded')
  }
  // Without the project's preloads this start is not the real one, so nothing can be concluded from it.
  if (preloads.length > 0) {
    return notChecked(id, `the scripts of package.json preload ${preloads.join(', ')}, but this start did not`,
      `fastify-async-endpoints doctor --app FILE ${preloads.map((name) => `--import ${name}`).join(' ')}`)
  }
  if (sdk === 'unknown') {
    return notChecked(id, 'a module preloaded by NODE_OPTIONS registered a tracer provider and loaded packages before the doctor\'s probe started')
  }
  if (sdk === 'none') return found(id, 'ok', 'no tracer provider was registered before the server was ready; the library uses its own')
  return found(id, 'warning', `${loadedBefore.join(' and ')} ${loadedBefore.length > 1 ? 'were' : 'was'} loaded before a tracer provider was registered`,
    'Start the SDK in a separate file and preload it: node --import ./otel.js server.js')
}

function checkProxy ({ trustProxy, https, publicUrl }: Extract<AppFacts, { state: 'ready' }>): Finding {
  const id = 'app.proxy'
  if (trustProxy === undefined) return notChecked(id, 'this release of Fastify does not show its trustProxy option')
  if (trustProxy === 'all') {
    return found(id, 'note', 'trustProxy is true: a client that reaches the server without the proxy can claim any address', NAME_PROXIES)
  }
  if (trustProxy === 'some') return found(id, 'ok', 'trustProxy names the proxies')
  // Clients use https and the server does not, so something in front of it ends TLS.
  if (publicUrl?.startsWith('https:') === true && !https) {
    return found(id, 'warning', 'publicUrl is https and the server speaks http, so there is a proxy in front of it; but trustProxy is off', NAME_PROXIES)
  }
  return found(id, 'ok', publicUrl === undefined
    ? 'neither trustProxy nor publicUrl is set: links are paths, which are right with or without a proxy'
    : 'publicUrl does not suggest a proxy, and trustProxy is off')
}

function checkJobRoutes ({ jobRoutes }: Extract<AppFacts, { state: 'ready' }>): Finding {
  const id = 'app.job-routes'
  switch (jobRoutes) {
    case 'none': return found(id, 'ok', 'there are no job routes')
    case 'guarded': return found(id, 'ok', 'an owner function, http.authorize or the link of a job decides who may see it')
    case 'open': return found(id, 'note', 'open on purpose: anybody who knows the id of a job can read, cancel and redrive it',
      'Set http.owner if the jobs belong to different people')
    case 'left-open': return found(id, 'problem', 'open: there is no owner function, and anybody who knows the id of a job can read, cancel and redrive it',
      'http: { owner: (request) => request.user.id }, or http: { links: { keys: [{ id, secret }] } }, or http: { access: \'open\' } if that is intended')
  }
}

function checkMetrics ({ metrics }: Extract<AppFacts, { state: 'ready' }>): Finding {
  const id = 'app.metrics'
  switch (metrics) {
    case 'none': return found(id, 'ok', 'the metrics have no routes')
    case 'guarded': return found(id, 'ok', 'metrics.authorize decides who may read them')
    case 'open': return found(id, 'note', 'open on purpose, on the port of the application', 'Block the path for outside clients at the proxy')
    case 'left-open': return found(id, 'warning', 'open: anybody who reaches the port of the application can read them',
      'observability: { metrics: { authorize: (request) => … } }, or metrics: { access: \'open\' } if only your scraper reaches them')
  }
}
