/**
 * The sagas of the example server: what they make, what they undo, and what is seen of it, with no line of telemetry in
 * them.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { text } from 'node:stream/consumers'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import { openPromise } from 'yauzl'
import { temporaryFolder } from '../support/folder.ts'
import { startRedis } from '../support/redis.ts'
import {
  attributeOf, boot, collector, eventually, json, metric, post, submit, untilOver, type SeenSpan
} from './support.ts'

const SAGAS = new URL('../../../example-server/sagas/', import.meta.url)
const ZIP = { files: [{ name: 'a.txt', text: 'first\n' }, { name: 'b.txt', text: 'second\n'.repeat(1_000) }] }
const COMPLETED = ['asyncendpoints_steps_duration_seconds_count', 'outcome="completed"'] as const
const ZIP_STEPS = ['check-files', 'write-files', 'create-zip', 'upload-result', 'notify', 'clean-up']
/** Numbers of log lines. */
const [ATTEMPT_STARTED, END_OF_JOB, END_OF_SAGA] = [10_110, [10_111, 10_114, 10_115], [10_005, 10_006, 10_025]]
const TEXT = { title: 'Sagas', text: 'They are undone when they fail.' }

interface Line {
  readonly eventId?: number
  readonly msg: string
  readonly job_id?: string
  readonly [field: string]: unknown
}
interface Step { readonly name: string, readonly group?: string, readonly state: string, readonly attempt: number }
interface Run { readonly id: string, readonly status: string, readonly phase: string, readonly steps: readonly Step[] }

interface Stage {
  readonly url: string
  /** The files of one job, as `bucket/<name of the step>`. */
  files (id: string): string[]
  /** Submits. @returns the URL of the job */
  begin (path: string, body: unknown, headers?: Readonly<Record<string, string>>): Promise<string>
  /** Submits, and waits for the end. */
  run (path: string, body: unknown): Promise<Run & { readonly self: string }>
  /** Waits for the end of a job, and for the lines about it. */
  over (self: string): Promise<Run & { readonly self: string }>
  status (self: string): Promise<Run>
  result (self: string): Promise<Record<string, unknown>>
  /** The spans of a job's trace, when those of all its attempts have ended. */
  spans (id: string): Promise<SeenSpan[]>
  /** The lines of one job with this number. */
  said (id: string, eventId: number): Line[]
  metric (name: string, ...labels: readonly string[]): Promise<number>
  kill (): Promise<unknown>
}

/** The example server with a collector of its own. */
async function stage (t: Test, redisUrl: string | undefined, directory = temporaryFolder(t, 'sagas')): Promise<Stage> {
  const otlp = await collector(t)
  const server = await boot(t, {
    FILES_DIR: directory,
    LOG_LEVEL: 'debug',
    SHUTDOWN_DELAY_MS: '0',
    OTEL_EXPORTER_OTLP_ENDPOINT: otlp.url,
    OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
    OTEL_BSP_SCHEDULE_DELAY: '50',
    ...(redisUrl === undefined ? undefined : { REDIS_URL: redisUrl })
  })
  const lines = (): Line[] => server.stdout().split('\n')
    .filter((line) => /^\{.*\}$/.test(line))
    .map((line) => JSON.parse(line) as Line)
  const begin: Stage['begin'] = async (path, body, headers) => {
    const { status, headers: answered, body: document } = await submit(server.url + path, body, headers)
    if (status !== 202) throw new Error(`${path} answered ${status}: ${JSON.stringify(document)}`)
    return server.url + (answered.get('location') ?? '')
  }
  const said: Stage['said'] = (id, eventId) => lines().filter((line) => line.job_id === id && line.eventId === eventId)
  const over: Stage['over'] = async (self) => {
    const job = await untilOver(self) as unknown as Run
    const ended = (ids: readonly number[]): boolean => ids.some((id) => said(job.id, id).length > 0)
    await eventually('the last lines about a saga', async () => (ended(END_OF_JOB) && ended(END_OF_SAGA)) || undefined)
    return { ...job, self }
  }
  return {
    url: server.url,
    files: (id) => readdirSync(directory, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => relative(directory, join(parentPath, name)))
      .filter((path) => path.includes(id))
      .map((path) => path.replace(`${id}_`, ''))
      .sort(),
    begin,
    run: async (path, body) => await over(await begin(path, body)),
    over,
    status: async (self) => (await json(self)).body as unknown as Run,
    result: async (self) => (await json(`${self}/result`)).body,
    spans: (id) => eventually(`the spans of ${id}`, async () => {
      const ofJob = otlp.spans.filter((span) => attributeOf(span, 'job.id') === id)
      const attempts = ofJob.filter(({ name }) => name.startsWith('process '))
      if (attempts.length < said(id, ATTEMPT_STARTED).length) return undefined
      return otlp.spans.filter(({ traceId }) => attempts.some((attempt) => attempt.traceId === traceId))
    }),
    said,
    metric: (name, ...labels) => metric(server.url, name, ...labels),
    kill: () => server.end('SIGKILL')
  }
}

const namesOf = (spans: readonly SeenSpan[], start: string): string[] =>
  spans.map(({ name }) => name).filter((name) => name.startsWith(start)).sort()
const statesOf = ({ steps }: Run): Record<string, string> =>
  Object.fromEntries(steps.map(({ name, group, state }) => [group === undefined ? name : `${group}/${name}`, state]))
const stepsIn = (lines: readonly Line[]): unknown[] => lines.map(({ step }) => step)

t.test('no saga has code for telemetry', async (t) => {
  const sources = readdirSync(SAGAS).filter((name) => name.endsWith('.ts'))
  t.ok(sources.length >= 4)
  for (const name of sources) {
    const source = readFileSync(new URL(name, SAGAS), 'utf8')
    const imported = [...source.matchAll(/\b(?:from |import\()'([^']+)'/g)].map(([, from = '']) => from)
    t.ok(imported.length > 0, `${name} imports something`)
    t.strictSame(imported.filter((from) => /opentelemetry|prom-client|telemetry|pino|exposition/.test(from)), [], name)
    t.notMatch(source, /\.span\(|\.log\b|\bconsole\.|\bmetrics\b/, `${name} says nothing about itself`)
  }
})

async function zips (t: Test, { run, begin, over, result, files, spans, said, metric, url }: Stage): Promise<void> {
  await t.test('an archive', async (t) => {
    const job = await run('/zips', ZIP)
    t.match(job, { status: 'completed', phase: 'forward', progress: { done: 6, total: 6 } })
    t.strictSame(statesOf(job), Object.fromEntries(ZIP_STEPS.map((step) => [step, 'completed'])))
    t.strictSame(files(job.id), ['bucket/upload-result_0.zip', 'outbox/notify_0.json'])
    const { path, bytes } = await result(job.self)
    t.ok(Number(bytes) < 1_000, 'it is compressed')
    const archive = await openPromise(String(path))
    const entries = []
    for await (const entry of archive.eachEntry()) {
      entries.push({ name: entry.fileName, text: await text(await archive.openReadStreamPromise(entry)) })
    }
    t.strictSame(entries, ZIP.files)

    const trace = await spans(job.id)
    t.equal(new Set(trace.map(({ traceId }) => traceId)).size, 1)
    t.strictSame(namesOf(trace, 'step '), ZIP_STEPS.map((step) => `step ${step}`).sort())
    const byId = new Map(trace.map((span) => [span.spanId, span]))
    for (const span of trace.filter(({ name }) => name.startsWith('step '))) {
      const above: string[] = []
      let parent = byId.get(span.parentSpanId ?? '')
      for (; parent !== undefined; parent = byId.get(parent.parentSpanId ?? '')) above.push(parent.name)
      t.ok(above.includes('process default'), `${span.name} < ${above.join(' < ')}`)
      t.ok(above.includes('send default'), 'the trace begins with the request')
    }
    t.strictSame(stepsIn(said(job.id, 10_001)), ZIP_STEPS)
    t.strictSame(stepsIn(said(job.id, 10_002)), ZIP_STEPS)
    t.match(said(job.id, 10_002)[2]?.msg, new RegExp(`zip-files/${job.id} .*create-zip.* \\d.* ms .*attempt 1 of 3`))
    t.equal(said(job.id, 10_005).length, 1)
    t.equal(await metric('asyncendpoints_sagas_completed_total', 'job_name="zip-files"'), 1)
    for (const step of ZIP_STEPS) t.equal(await metric(...COMPLETED, 'job_name="zip-files"', `step="${step}"`), 1, step)
  })

  await t.test('each step in turn fails: what was made before it is removed', async (t) => {
    await Promise.all(ZIP_STEPS.slice(0, -1).map(async (failAt, place) => {
      const job = await run('/zips', { ...ZIP, failAt })
      const undone = ZIP_STEPS.slice(1, place).reverse()
      const error = { code: 'FAILED_AS_ASKED', message: `${failAt} fails as asked` }
      t.match(job, { status: 'failed', error }, failAt)
      t.match(statesOf(job), { [failAt]: 'failed', ...Object.fromEntries(undone.map((step) => [step, 'compensated'])) })
      t.strictSame(files(job.id), [], 'no file is left')
      const trace = await spans(job.id)
      t.equal(namesOf(trace, `step ${failAt}`).length, 3, 'one span for each attempt')
      t.strictSame(namesOf(trace, 'compensate '), undone.map((step) => `compensate ${step}`).sort())
      t.strictSame(stepsIn(said(job.id, 10_003)), [failAt, failAt, failAt])
      t.strictSame(said(job.id, 10_003).map(({ level, attempt }) => [level, attempt]), [[40, 1], [40, 2], [50, 3]])
      t.strictSame(stepsIn(said(job.id, 10_004)), undone)
      t.strictSame(stepsIn(said(job.id, 10_007)), undone)
      t.equal(said(job.id, 10_006).length, 1)
      if (undone.length > 0) t.equal(job.phase, 'compensated')
    }))
    t.equal(await metric('asyncendpoints_sagas_failed_total', 'job_name="zip-files"'), 5)
    t.equal(await metric('asyncendpoints_steps_compensations_total', 'step="write-files"', 'outcome="compensated"'), 3)
  })

  await t.test('a repeated request is the same job, and one archive', async (t) => {
    const headers = { 'idempotency-key': '"zip-1"' }
    const [first, second] = [await begin('/zips', ZIP, headers), await begin('/zips', ZIP, headers)]
    t.equal(first, second)
    const { id } = await over(first)
    t.equal(files(id).filter((path) => path.startsWith('bucket/')).length, 1)
  })

  await t.test('bodies that nobody should be able to send', async (t) => {
    for (const name of ['../a.txt', 'a/b.txt', '.hidden', '', 'a b', 'x'.repeat(101)]) {
      t.match(await post(`${url}/zips`, { files: [{ name, text: '' }] }), { status: 400 }, JSON.stringify(name))
    }
    for (const body of [{}, { files: [] }, { ...ZIP, failAt: 'lunch' }]) {
      t.match(await post(`${url}/zips`, body), { status: 400 }, JSON.stringify(body).slice(0, 40))
    }
    const twice = await run('/zips', { files: [{ name: 'a', text: '' }, { name: 'a', text: '' }] })
    t.match(twice, { status: 'failed', error: { message: /the same name/ } })
    t.match(twice.steps[0], { name: 'check-files', state: 'failed', attempt: 1 })
  })
}

async function transcodes (t: Test, { run, result, files, spans, said, metric, url }: Stage): Promise<void> {
  await t.test('renditions, those that were asked for and that the source is large enough for', async (t) => {
    const job = await run('/transcodes', { renditions: 4, width: 1_280 })
    t.match(job, { status: 'completed', phase: 'forward' })
    const made = ['hd', 'sd', 'thumbnail']
    const states = Object.fromEntries(made.map((size) => [`renditions/${size}`, 'completed']))
    t.match(statesOf(job), { ...states, 'renditions/uhd': 'skipped' })
    t.strictSame(files(job.id), [...[0, 1, 2].map((item) => `bucket/upload_${item}_0.webp`), 'outbox/notify_0.json'])
    const { paths, notified } = await result(job.self) as { paths: string[], notified: boolean }
    t.strictSame(await Promise.all(paths.map(async (path) => (await sharp(path).metadata()).width)), [1_280, 640, 160])
    t.equal(notified, true)
    const trace = await spans(job.id)
    const group = trace.find(({ name }) => name === 'group renditions')
    const siblings = trace.filter(({ parentSpanId }) => parentSpanId === group?.spanId)
    t.strictSame(namesOf(siblings, ''), made.map((size) => `step renditions/${size}`))
    t.equal(await metric(...COMPLETED, 'job_name="transcode"', 'step="upload"'), 3, 'one series for all items')
    const one = await run('/transcodes', { renditions: 1 })
    t.match(statesOf(one), { 'renditions/hd': 'completed', 'renditions/sd': 'skipped' })
  })

  await t.test('a notification that fails is no failure of the saga', async (t) => {
    const job = await run('/transcodes', { failAt: 'notify' })
    t.match(job, { status: 'completed' })
    t.match(statesOf(job), { notify: 'failed', 'clean-up': 'completed' })
    t.match(await result(job.self), { notified: false })
    t.strictSame(files(job.id).length, 3)
    t.match(said(job.id, 10_003).map(({ attempt }) => attempt), [1], 'it was tried once')
  })

  await t.test('a step fails: nothing is left', async (t) => {
    await Promise.all(['make-source', 'probe', 'hd', 'sd', 'thumbnail', 'upload'].map(async (failAt) => {
      const job = await run('/transcodes', { failAt })
      t.match(job, { status: 'failed', error: { message: `${failAt} fails as asked` } })
      t.strictSame(files(job.id), [], failAt)
    }))
    const wide = await run('/transcodes', { renditions: 4, width: 3_840, failAt: 'uhd' })
    t.match(wide, { status: 'failed', phase: 'compensated' })
    t.match(statesOf(wide), { 'renditions/uhd': 'failed', 'make-source': 'compensated', upload: 'pending' })
    t.strictSame(files(wide.id), [])
    t.equal((await spans(wide.id)).filter(({ name }) => name === 'compensation').length, 1)
  })

  await t.test('bodies that do not fit', async (t) => {
    for (const body of [{ renditions: 0 }, { renditions: 5 }, { width: 1 }, { width: 100_000 }, { failAt: 'x' }]) {
      t.match(await post(`${url}/transcodes`, body), { status: 400 }, JSON.stringify(body))
    }
  })
}

async function publications (t: Test, server: Stage): Promise<void> {
  const { begin, over, status, result, files, spans, said, metric, url } = server
  const waiting = async (): Promise<Run & { self: string }> => {
    const self = await begin('/publications', TEXT)
    const job = await eventually('the wait for an approval', async () => {
      const job = await status(self)
      return statesOf(job)['approval'] === 'waiting' ? job : undefined
    })
    return { ...job, self }
  }
  const approve = (self: string, approved: unknown): ReturnType<typeof post> =>
    post(`${self}/signals/approval`, { approved, by: 'ada' }, { prefer: 'wait=20' })

  await t.test('approved', async (t) => {
    const { id, self } = await waiting()
    t.match(await status(self), { status: 'scheduled', phase: 'forward' })
    t.strictSame(files(id), ['work/write-draft_0.txt'])
    const awaiting = (): Promise<number> => metric('asyncendpoints_sagas_awaiting_signal', 'queue="default"')
    await eventually('the wait to be seen in the metrics', async () => await awaiting() === 1 || undefined)
    t.match(await approve(self, 'yes'), { status: 400 }, 'it must fit the schema')
    t.equal((await post(`${self}/signals/lunch`, {})).status, 404)
    const approved = await approve(self, true)
    t.match(approved, { status: 200, body: { path: /publish_0\.txt$/, approvedBy: 'ada' } }, 'the answer is the result')
    t.strictSame(files(id), ['bucket/publish_0.txt'])
    t.match(readFileSync(String((await result(self))['path']), 'utf8'), /^Sagas\n\nThey are/)
    t.equal(new Set((await spans(id)).map(({ traceId }) => traceId)).size, 1, 'one trace before and after the wait')
    t.equal(said(id, 10_005).length, 1)
    t.match(await approve(self, false), { status: 409 }, 'too late')
  })

  await t.test('not approved: the draft is removed', async (t) => {
    const { id, self } = await waiting()
    await approve(self, false)
    t.match(await over(self), { status: 'failed', phase: 'compensated', error: { message: 'not approved by ada' } })
    t.strictSame(files(id), [])
    t.strictSame(stepsIn(said(id, 10_007)), ['write-draft'])
  })

  await t.test('cancelled while it waits: the draft is removed', async (t) => {
    const { id, self } = await waiting()
    t.match(await json(self, { method: 'DELETE' }), { status: 202 })
    const job = await over(self)
    t.match(job, { status: 'cancelled', phase: 'compensated' })
    t.match(statesOf(job), { 'write-draft': 'compensated', publish: 'pending' })
    t.strictSame(files(id), [])
    t.equal(await metric('asyncendpoints_sagas_cancelled_total', 'job_name="publish-text"'), 1)
  })

  await t.test('an approval that comes before the wait is kept', async (t) => {
    const self = await begin('/publications', TEXT)
    await approve(self, true)
    t.match(await over(self), { status: 'completed' })
  })

  t.match(await post(`${url}/publications`, { title: '', text: '' }), { status: 400 })
}

/** One check of the health page. */
async function checkOf (url: string, name: string): Promise<unknown> {
  const { body } = await json(`${url}/health`)
  return (body['checks'] as Array<{ name: string }>).find((check) => check.name === name)
}

for (const store of ['memory', 'Redis'] as const) {
  t.test(store, async (t) => {
    const redis = store === 'Redis' ? await startRedis() : undefined
    t.teardown(() => redis?.stop())
    const server = await stage(t, redis?.url)
    await t.test('zips', (t) => zips(t, server))
    await t.test('transcodes', (t) => transcodes(t, server))
    await t.test('publications', (t) => publications(t, server))
    for (const name of ['zip-files', 'transcode', 'publish-text']) {
      t.match(await checkOf(server.url, `${name}-storage`), { status: 'Healthy' }, name)
    }
    t.match(await checkOf(server.url, 'asyncendpoints.stuck'), { status: 'Healthy', data: { jobs_watched: Number } })
  })
}

t.test('a saga that waits survives its process', async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const directory = temporaryFolder(t, 'sagas')
  const first = await stage(t, redis.url, directory)
  const location = new URL(await first.begin('/publications', TEXT)).pathname
  await eventually('the wait for an approval', async () => {
    const { approval } = statesOf(await first.status(first.url + location))
    return approval === 'waiting' || undefined
  })
  await first.kill()
  const second = await stage(t, redis.url, directory)
  const signal = `${second.url}${location}/signals/approval`
  const answer = await post(signal, { approved: true, by: 'ada' }, { prefer: 'wait=20' })
  t.match(answer, { status: 200, body: { approvedBy: 'ada' } })
})

t.test('a directory that is none: the health page says so', async (t) => {
  const file = join(temporaryFolder(t, 'sagas'), 'file')
  writeFileSync(file, '')
  const { url } = await boot(t, { FILES_DIR: file, LOG_LEVEL: 'silent' })
  t.match(await checkOf(url, 'zip-files-storage'), { status: 'Unhealthy' })
  t.equal((await json(`${url}/health/ready`)).status, 200, 'the other jobs go on')
})
