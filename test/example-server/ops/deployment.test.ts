/** What is deployed fits what the server does: its settings, routes, ports, and how long it takes to leave. Nothing of it can be started here, so it is read. */
import { existsSync, readdirSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import t, { type Test } from 'tap'
import { buildServer } from '../../../example-server/server.ts'
import { readSettings } from '../../../example-server/settings.ts'
import { WORKER_DEFAULTS } from '../../../lib/worker/worker-options.ts'
import { OPS, text, unknownIn, yaml } from './support.ts'

const ROOT = resolve(OPS, '../..')
const OTEL = /^OTEL_(SERVICE_NAME|RESOURCE_ATTRIBUTES|EXPORTER_OTLP_(ENDPOINT|PROTOCOL)|METRICS_EXPORTER)$/
const SETTINGS = ['PORT', 'HOST', 'REDIS_URL', 'REDIS_PREFIX', 'ROLE', 'LOG_LEVEL', 'SHUTDOWN_DELAY_MS', 'FILES_DIR']

/** What the server makes of an environment. A variable it does not know would be a setting without effect. */
function understood (t: Test, env: Readonly<Record<string, string>>): ReturnType<typeof readSettings> {
  t.strictSame(Object.keys(env).filter((name) => !SETTINGS.includes(name) && !OTEL.test(name)), [], 'every variable is one that somebody reads')
  return readSettings(env)
}

interface Probe { httpGet: { path: string, port: string }, periodSeconds: number, timeoutSeconds?: number, failureThreshold: number }
interface Container {
  image: string
  ports: Array<{ name: string, containerPort: number }>
  envFrom: Array<{ configMapRef: { name: string } }>
  env: Array<{ name: string, value?: string, valueFrom?: unknown }>
  startupProbe: Probe
  livenessProbe: Probe
  readinessProbe: Probe
  resources: { requests: Record<string, string>, limits: Record<string, string> }
  securityContext: Record<string, unknown>
}
interface Manifest {
  kind: string
  metadata: { name: string, labels: Record<string, string> }
  data?: Record<string, string>
  spec: Record<string, unknown>
}
interface Pod { terminationGracePeriodSeconds: number, containers: Container[], securityContext: Record<string, unknown> }

const missing = (what: string): never => { throw new Error(`there is no ${what}`) }
const manifests = (): Manifest[] => yaml<{ resources: string[] }>('kubernetes/kustomization.yaml').flatMap(({ resources }) => resources).flatMap((name) => yaml<Manifest>(`kubernetes/${name}`))
const named = (kind: string, name: string): Manifest => manifests().find((one) => one.kind === kind && one.metadata.name === name) ?? missing(`${kind} ${name}`)
const podOf = ({ spec }: Manifest): { metadata: { labels: Record<string, string> }, spec: Pod } => spec['template'] as { metadata: { labels: Record<string, string> }, spec: Pod }

t.test('kustomization names every file', async (t) => {
  const [{ resources } = { resources: [] }] = yaml<{ resources: string[] }>('kubernetes/kustomization.yaml')
  t.strictSame([...resources, 'kustomization.yaml'].sort(), readdirSync(resolve(OPS, 'kubernetes')).sort())
})

for (const [name, role] of [['shop-api', 'api'], ['shop-worker', 'worker']] as const) {
  t.test(`the deployment ${name}`, async (t) => {
    const { metadata, spec: pod } = podOf(named('Deployment', name))
    const [container] = pod.containers
    if (container === undefined) return missing('container')
    const config = named('ConfigMap', container.envFrom[0]?.configMapRef.name ?? '').data ?? {}
    const secret = container.env.filter(({ valueFrom }) => valueFrom !== undefined).map(({ name }) => name)
    t.strictSame(secret, ['REDIS_URL'], 'an address with a password is a secret')
    const settings = understood(t, { ...config, ...Object.fromEntries(container.env.map(({ name, value = 'redis://x:6379' }) => [name, value])) })
    t.match(settings, { role, host: '0.0.0.0', port: container.ports[0]?.containerPort })

    const app = await buildServer({ ...settings, redisUrl: undefined, logLevel: 'silent' })
    t.teardown(() => app.close())
    await app.ready()
    for (const probe of [container.startupProbe, container.livenessProbe, container.readinessProbe]) {
      t.ok(app.hasRoute({ method: 'GET', url: probe.httpGet.path }), probe.httpGet.path)
      t.equal(probe.httpGet.port, container.ports[0]?.name)
    }
    t.ok(app.hasRoute({ method: 'GET', url: '/metrics' }))
    t.equal(container.livenessProbe.httpGet.path, '/health/live', 'a restart does not mend Redis')
    t.equal(container.startupProbe.httpGet.path, '/health/live')
    t.equal(container.readinessProbe.httpGet.path, '/health/ready')
    t.ok((container.readinessProbe.timeoutSeconds ?? 1) > 1, 'longer than the slowest check')

    const leaving = settings.shutdownDelayMs + WORKER_DEFAULTS.drainTimeoutMs
    t.ok(pod.terminationGracePeriodSeconds * 1_000 >= leaving + 10_000, `${pod.terminationGracePeriodSeconds} s for ${leaving} ms and some to flush`)
    if (role === 'api') t.ok(settings.shutdownDelayMs >= container.readinessProbe.periodSeconds * container.readinessProbe.failureThreshold * 1_000, 'readiness is noticed before it closes')
    t.match(pod.securityContext, { runAsNonRoot: true })
    t.match(container.securityContext, { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } })
    t.match(container.resources, { requests: { cpu: String, memory: String }, limits: { memory: String } })
    t.equal(container.resources.limits['cpu'], undefined, 'a processor that is taken away blocks the event loop')

    const own = { 'app.kubernetes.io/name': name }
    t.match(metadata.labels, own)
    t.match(named('Deployment', name).spec, { selector: { matchLabels: own } })
    t.match(named('PodDisruptionBudget', name).spec, { maxUnavailable: 1, selector: { matchLabels: own } })
    t.match(named('NetworkPolicy', name).spec, { podSelector: { matchLabels: own }, policyTypes: ['Ingress'] })
  })
}

t.test('clients reach the paths of the API, and neither metrics nor probes', async (t) => {
  interface Path { path: string, backend: { service: { name: string, port: { name: string } } } }
  const rules = named('Ingress', 'shop-api').spec['rules'] as Array<{ http: { paths: Path[] } }>
  const paths = rules.flatMap(({ http }) => http.paths)
  const app = await buildServer(readSettings({ LOG_LEVEL: 'silent' }))
  t.teardown(() => app.close())
  await app.ready()
  for (const { path, backend } of paths) {
    t.ok(app.hasRoute({ method: 'POST', url: path }) || app.hasRoute({ method: 'GET', url: `${path}/:id` }), path)
    t.notOk('/metrics'.startsWith(path) || '/health'.startsWith(path), `${path} lets nobody see more`)
    t.match(named('Service', backend.service.name).spec, { selector: { 'app.kubernetes.io/name': 'shop-api' }, ports: [{ name: backend.service.port.name, targetPort: 'http' }] })
  }
  interface Peer { namespaceSelector?: unknown, podSelector?: unknown }
  const fromOf = (name: string): Peer[] => (named('NetworkPolicy', name).spec['ingress'] as Array<{ from: Peer[], ports: unknown }>).flatMap(({ from }) => from)
  t.match(fromOf('shop-worker'), [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } }, podSelector: Object }])
  t.equal(fromOf('shop-worker').length, 1, 'only Prometheus has business with a worker')
  t.match(named('PodMonitor', 'shop').spec, { selector: { matchLabels: { 'app.kubernetes.io/part-of': 'shop' } }, podMetricsEndpoints: [{ port: 'http', path: '/metrics', interval: '15s' }] })
})

t.test('workers are scaled by how long jobs wait', async (t) => {
  interface Trigger { type: string, metadata: { query: string, threshold: string } }
  const { spec } = named('ScaledObject', 'shop-worker')
  t.match(spec, { scaleTargetRef: { name: 'shop-worker' }, fallback: { replicas: Number } })
  t.ok(Number(spec['minReplicaCount']) >= 1)
  t.equal(named('Deployment', 'shop-worker').spec['replicas'], undefined, 'or every apply would reset the number')
  const triggers = spec['triggers'] as Trigger[]
  t.strictSame(triggers.flatMap(({ metadata }) => unknownIn(metadata.query)), [])
  t.match(triggers[0]?.metadata.query, /^max\(max_over_time\(asyncendpoints_jobs_oldest_age_seconds/)
  t.match(named('HorizontalPodAutoscaler', 'shop-api').spec, { scaleTargetRef: { name: 'shop-api' } })
})

interface Service { image: string, build?: { context: string, dockerfile: string }, command?: string[], environment?: Record<string, string>, volumes?: string[], networks: string[], depends_on?: string[] | Record<string, unknown>, stop_grace_period?: string, ports?: string[] }
interface Compose { services: Record<string, Service>, networks: object, volumes: Record<string, unknown> }
interface Collector {
  receivers: { otlp: { protocols: Record<string, { endpoint: string }> } }
  processors: Record<string, unknown>
  exporters: Record<string, { endpoint?: string, namespace?: string }>
  extensions: Record<string, unknown>
  service: { extensions: string[], pipelines: Record<string, Record<'receivers' | 'processors' | 'exporters', string[]>>, telemetry: { metrics: { readers: unknown } } }
}

t.test('compose: everything it names is there', async (t) => {
  const [compose] = yaml<Compose>('compose.yaml')
  const [proof] = yaml<Compose>('compose.test.yaml')
  if (compose === undefined || proof === undefined) return missing('compose file')
  t.strictSame(Object.keys(compose.services).sort(), ['app', 'grafana', 'jaeger', 'otel-collector', 'prometheus', 'redis', 'worker'])
  for (const [name, service] of Object.entries(compose.services)) {
    t.match(service.image, /^[\w/.-]+:v?\d[\w.-]*$/, `${name} has a version`)
    t.strictSame(service.networks, ['observability'])
    for (const other of Array.isArray(service.depends_on) ? service.depends_on : Object.keys(service.depends_on ?? {})) t.ok(compose.services[other], `${name} waits for ${other}`)
    for (const volume of service.volumes ?? []) {
      const [source = ''] = volume.split(':')
      t.ok(source.startsWith('./') ? existsSync(resolve(OPS, source)) : source in compose.volumes, `${name}: ${source}`)
    }
    for (const port of service.ports ?? []) t.match(port, /^127\.0\.0\.1:/, `${name} is for this machine`)
  }
  for (const [name, role] of [['app', 'api'], ['worker', 'worker']] as const) {
    const { environment = {}, build, stop_grace_period: grace = '0s' } = compose.services[name] ?? missing(name)
    const settings = understood(t, environment)
    t.match(settings, { role, redisUrl: 'redis://redis:6379', port: 3_000 })
    t.equal(environment['OTEL_METRICS_EXPORTER'], 'none', 'scraped, and not pushed as well')
    t.ok(Number.parseInt(grace) * 1_000 >= settings.shutdownDelayMs + WORKER_DEFAULTS.drainTimeoutMs + 10_000)
    t.ok(existsSync(resolve(OPS, build?.context ?? '', build?.dockerfile ?? '')))
  }
  t.match(compose.services['redis']?.command?.join(' '), /appendonly yes .*noeviction/)
  t.ok(compose.services['prometheus']?.command?.includes('--enable-feature=exemplar-storage'))
  const { command = [] } = proof.services['validate'] ?? missing('validate')
  t.ok(command.includes('dist/example-server/validate/main.js') && existsSync(resolve(ROOT, 'example-server/validate/main.ts')), 'the proof is in the image')
  for (const url of command.filter((word) => word.startsWith('http:'))) t.ok(compose.services[new URL(url).hostname], url)
})

t.test('the collector: whole pipelines, addresses that others use', async (t) => {
  const [collector] = yaml<Collector>('collector/config.yaml')
  const [compose] = yaml<Compose>('compose.yaml')
  if (collector === undefined || compose === undefined) return missing('collector')
  const { pipelines, extensions } = collector.service
  t.strictSame(Object.keys(pipelines).sort(), ['logs', 'metrics', 'traces'])
  const used = { receivers: new Set<string>(), processors: new Set<string>(), exporters: new Set<string>() }
  for (const pipeline of Object.values(pipelines)) for (const kind of ['receivers', 'processors', 'exporters'] as const) for (const name of pipeline[kind]) used[kind].add(name)
  for (const kind of ['receivers', 'processors', 'exporters'] as const) t.strictSame([...used[kind]].sort(), Object.keys(collector[kind]).sort(), `${kind}: none missing, none for nothing`)
  t.strictSame(extensions, Object.keys(collector.extensions))
  t.equal(pipelines['traces']?.processors[0], 'memory_limiter', 'first of all')
  t.match(collector.receivers.otlp.protocols, { grpc: { endpoint: '0.0.0.0:4317' }, http: { endpoint: '0.0.0.0:4318' } })
  t.match(collector.exporters, { 'otlp_grpc/jaeger': { endpoint: 'jaeger:4317' }, prometheus: { endpoint: '0.0.0.0:8889', namespace: 'otlp' } })
  t.match(collector.service.telemetry.metrics.readers, [{ pull: { exporter: { prometheus: { port: 8_888 } } } }])
  const { volumes = [], command = [] } = compose.services['otel-collector'] ?? missing('collector')
  t.equal(`--config=${volumes[0]?.split(':')[1]}`, command[0])
  const endpoint = new URL(compose.services['app']?.environment?.['OTEL_EXPORTER_OTLP_ENDPOINT'] ?? '')
  t.strictSame([endpoint.hostname, endpoint.port], ['otel-collector', '4318'])
})

t.test('the image: built whole, run as nobody special, reached by signals', async (t) => {
  const lines = text('Dockerfile').replaceAll('\\\n', '').split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  const stages = lines.filter((line) => line.startsWith('FROM '))
  t.strictSame(stages, ['FROM node:24-slim AS build', 'FROM node:24-slim'])
  const last = lines.slice(lines.lastIndexOf('FROM node:24-slim'))
  t.ok(last.includes('USER node') && last.indexOf('USER node') < last.findIndex((line) => line.startsWith('CMD')))
  const command = JSON.parse(last.find((line) => line.startsWith('CMD'))?.slice(4) ?? '') as string[]
  t.equal(command[0], 'node', 'neither a shell nor npm, which would keep SIGTERM to themselves')
  const entry = command.at(-1) ?? ''
  t.ok(existsSync(resolve(ROOT, entry)))
  t.ok(last.some((line) => line.startsWith('COPY --from=build') && line.endsWith(` ${dirname(entry)}`)))
  const env = Object.fromEntries(last.filter((line) => line.startsWith('ENV ')).flatMap((line) => line.slice(4).split(' ')).map((pair) => pair.split('=') as [string, string]))
  t.match(readSettings(env), { host: '0.0.0.0', port: 3_000 })
  t.match(last.find((line) => line.includes('HEALTHCHECK')), /\/health\/live/)
  const copied = lines.slice(0, lines.indexOf('FROM node:24-slim')).filter((line) => line.startsWith('COPY ')).flatMap((line) => line.split(' ').slice(1, -1))
  const kept = text('Dockerfile.dockerignore').split('\n').filter((line) => line.startsWith('!')).map((line) => line.slice(1))
  t.strictSame(copied.sort(), kept.sort(), 'what is copied is what may be')
  for (const path of copied) t.ok(existsSync(resolve(ROOT, path)), path)
})
