import t from 'tap'
import { isoFormat } from '../../lib/core/iso-time.ts'
import { matchesETag, retryAfterSeconds, statusDocument, submittedDocument, weakETag, writeSubmitted } from '../../lib/http/document.ts'
import { JobLinks } from '../../lib/http/links.ts'
import { JOB_STATES } from '../../lib/jobs/states.ts'
import { testClaim } from '../worker/support.ts'

const links = new JobLinks('', '/jobs', undefined)

t.test('the status document is an allow-list of the record', async (t) => {
  const { job } = testClaim({
    createdAt: 0,
    runAt: 0,
    startedAt: 1_000,
    finishedAt: 2_500,
    state: 'failed',
    owner: 'alice',
    input: { body: { secret: 'payload' }, params: {}, query: {}, headers: { 'x-tenant': 'hidden' } },
    trace: { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', tracestate: 'vendor=secret' },
    progress: { done: 1, total: 2, message: 'half' },
    error: { code: 'E_BROKEN', message: 'it broke' },
    attempts: 3
  })
  t.strictSame(JSON.parse(JSON.stringify(statusDocument(job, links))), {
    id: job.id,
    name: 'job',
    status: 'failed',
    createdAt: '1970-01-01T00:00:00.000Z',
    startedAt: '1970-01-01T00:00:01.000Z',
    finishedAt: '1970-01-01T00:00:02.500Z',
    attempts: { made: 3, max: 3 },
    progress: { done: 1, total: 2, message: 'half' },
    error: { code: 'E_BROKEN', message: 'The handler threw an error' },
    cancelRequested: false,
    correlationId: 'corr',
    traceId: '0af7651916cd43dd8448eb211c80319c',
    links: { self: `/jobs/${job.id}`, redrive: `/jobs/${job.id}/redrive` }
  })
})

t.test('only a scheduled job has a moment it is scheduled for', async (t) => {
  t.equal(statusDocument(testClaim({ state: 'scheduled', runAt: 5_000 }).job, links).scheduledFor, '1970-01-01T00:00:05.000Z')
  t.equal(statusDocument(testClaim({ state: 'queued', runAt: 5_000 }).job, links).scheduledFor, undefined)
})

t.test('the 202 document written by hand is what JSON.stringify writes', async (t) => {
  const format = isoFormat()
  for (const state of JOB_STATES) {
    for (const base of ['/v1', '', '/quoted"\\', '/ümläut/\u2028']) {
      for (const options of [{}, { streams: true }, { streams: true, sign: () => 'k.1.read._-' }]) {
        const document = submittedDocument(testClaim({ state }).job, new JobLinks(base, '/jobs', 'https://api.example.com:8443/~x', options), format)
        t.equal(writeSubmitted(document), JSON.stringify(document), `${state} ${base}`)
      }
    }
  }
  for (const other of [{ wrapped: 1 }, [1], 'text', null, 0]) t.equal(writeSubmitted(other), JSON.stringify(other), 'and anything else as it is')
})

t.test('entity tags', async (t) => {
  const etag = weakETag('{"a":1}')
  t.match(etag, /^W\/"[\w-]+"$/)
  t.equal(etag, weakETag('{"a":1}'))
  t.not(etag, weakETag('{"a":2}'))
  t.ok(matchesETag(etag, etag))
  t.ok(matchesETag(etag.slice(2), etag), 'weak comparison takes a strong tag')
  t.ok(matchesETag(`"x", ${etag} , W/"y"`, etag))
  t.ok(matchesETag('*', etag))
  for (const header of [undefined, '', '"x"', 'W/"x", "y"', etag.slice(3, -1), 'garbage"']) t.notOk(matchesETag(header, etag), String(header))
})

t.test('Retry-After grows with the age of a job and looks ahead for a scheduled one', async (t) => {
  const at = (parts: Parameters<typeof testClaim>[0], now: number): number => retryAfterSeconds(testClaim({ createdAt: 0, runAt: 0, startedAt: undefined, ...parts }).job, now)
  t.equal(at({ state: 'queued' }, 0), 1)
  t.equal(at({ state: 'queued' }, 9_000), 1)
  t.equal(at({ state: 'queued' }, 120_000), 12)
  t.equal(at({ state: 'in-progress', startedAt: 110_000 }, 120_000), 1, 'counts from the start of the attempt')
  t.equal(at({ state: 'in-progress' }, 3_600_000), 30)
  t.equal(at({ state: 'queued' }, -5_000), 1, 'a clock that is behind')
  t.equal(at({ state: 'scheduled', runAt: 7_200 }, 0), 8)
  t.equal(at({ state: 'scheduled', runAt: 3_600_000 }, 0), 60)
  t.equal(at({ state: 'completed' }, 0), 0)
})
