import t from 'tap'
import type { AlertFacts, ProcessFacts, QueueFacts } from '../../../lib/monitor/alerts/alert-facts.ts'
import { readAlertsOptions, type AlertsOptions } from '../../../lib/monitor/alerts/options.ts'
import { BUILT_IN_RULES, JUDGES, storeUnreachable } from '../../../lib/monitor/alerts/rules.ts'

const QUEUE: QueueFacts = {
  queue: 'default', states: { queued: 3, scheduled: 0, 'in-progress': 0, completed: 0, failed: 0, cancelled: 0 }, oldestAgeMs: undefined, stuck: 0, stuckJobs: [], notUndone: [], claimAgeMs: 0, busy: false, paused: false
}
const PROCESS: ProcessFacts = { instance: 'host:1:a', memory: { usedBytes: 10, limitBytes: 100 }, consumers: [] }
const job = (name: string, completed: number, failed: number, p95Ms = 10) => ({ name, completed, failed, attempts: completed + failed, p95Ms })

/** What a rule says of facts: its severity, key and message, or that it does not know. */
function judge (rule: string, facts: Partial<AlertFacts>, options: AlertsOptions = {}, long: (name: string) => boolean = () => false): unknown {
  const outcome = JUDGES.get(rule)?.({ now: 0, jobs: [], slowJobs: [], queues: [QUEUE], deadLetters: { kept: 0, growth: 0 }, processes: [PROCESS], ...facts }, readAlertsOptions(options), long)
  return outcome === 'unknown' ? outcome : outcome?.map(({ type, severity, title, key, message, details, forMs }) => ({ type, severity, title, key, message, details, forMs }))
}

t.test('nothing is wrong, nothing is found; and every rule can be switched off', async (t) => {
  for (const rule of JUDGES.keys()) t.same(judge(rule, {}), [], rule)
  const terrible: Partial<AlertFacts> = {
    jobs: [job('a', 0, 1_000, 1e6), job('webhook-delivery', 0, 1)],
    slowJobs: [{ jobId: 'j', jobName: 'a', durationMs: 1e6, running: false }],
    queues: [{ ...QUEUE, stuck: 100, oldestAgeMs: 1e9, claimAgeMs: 1e9, notUndone: [{ jobId: 'j', jobName: 'a', steps: 'upload' }] }],
    deadLetters: { kept: 1e6, growth: 1e6 },
    processes: [{ instance: 'x', memory: { usedBytes: 99, limitBytes: 100 }, consumers: [{ queue: 'q', active: 0, concurrency: 1, paused: false, silentMs: 1e9 }] }]
  }
  for (const { name, option, type, severity, title } of BUILT_IN_RULES) {
    if (!JUDGES.has(name)) continue
    t.match(judge(name, terrible), [{ type, severity, title }], name)
    t.same(judge(name, terrible, { [option]: false }), [], `${name} off`)
  }
  t.match(storeUnreachable('x', 'bullmq', 60_000, readAlertsOptions({})), [{ severity: 'critical', key: 'x', message: /^process x has not reached the bullmq store for 60 s:/ }])
  t.same(storeUnreachable('x', 'bullmq', 59_999, readAlertsOptions({})), [])
  t.same(storeUnreachable('x', 'bullmq', 1e9, readAlertsOptions({ storeUnreachableMs: false })), [])
})

t.test('slow: the percentile with enough samples, single attempts, and jobs that may be slow', async (t) => {
  const jobs = [job('few', 19, 0, 9_000), job('slow', 15, 5, 5_001), job('fine', 20, 0, 5_000)]
  t.match(judge('slow-p95', { jobs }), [{ type: 'Performance', severity: 'medium', key: 'slow', details: { job_name: 'slow', p95_ms: 5_001, attempts: 20, threshold_ms: 5_000 } }])
  t.same(judge('slow-p95', { jobs }, {}, (name) => name === 'slow'), [])
  t.match(judge('slow-p95', { jobs }, { minSamples: 19, slowP95Ms: 8_000 }), [{ key: 'few' }])
  const slowJobs = Array.from({ length: 20 }, (_, n) => ({ jobId: `j${n}`, jobName: 'a', durationMs: 40_000 - n, running: n === 0 }))
  t.match(judge('slow-jobs', { slowJobs }), [{ type: 'Performance', severity: 'high', title: 'Slow Job Processing Detected', details: { jobs: [{ job_id: 'j0', job_name: 'a', duration_ms: 40_000, running: true }] } }])
})

t.test('failures: by share with enough samples, and by number', async (t) => {
  t.match(judge('failure-rate', { jobs: [job('bad', 17, 3), job('fine', 90, 10), job('few', 0, 19)] }), [{ type: 'Error', severity: 'high', title: 'High Job Failure Rate', key: 'bad', details: { failure_rate: 0.15, failed: 3, ended: 20 } }])
  t.match(judge('failure-rate', { jobs: [job('a', 8, 2), job('b', 9, 1)] }), [{ key: '', details: { failure_rate: 0.15, ended: 20 } }], 'those that run seldom are judged together')
  t.same(judge('failed-jobs', { jobs: [job('a', 0, 5), job('b', 0, 4)] }), [])
  t.match(judge('failed-jobs', { jobs: [job('a', 0, 4), job('b', 0, 6)] }), [{ type: 'Error', severity: 'medium', details: { failed: 10, jobs: [{ job_name: 'b', failed: 6 }, { job_name: 'a', failed: 4 }] } }])
  t.same(judge('dead-letter-growth', { deadLetters: { kept: 1_000, growth: 49 } }), [])
  t.match(judge('dead-letter-growth', { deadLetters: { kept: 1_000, growth: 50 } }), [{ message: /keeps 50 more failed jobs .* 1000 in total/, details: { kept: 1_000, growth: 50 } }])
})

t.test('sagas that could not undo their steps: critical, by name, with the jobs and the steps', async (t) => {
  const notUndone = [
    { jobId: 'j3', jobName: 'transcode', steps: 'upload, renditions/hd' },
    { jobId: 'j2', jobName: 'zip', steps: 'upload' },
    { jobId: 'j1', jobName: 'transcode', steps: 'upload' }
  ]
  const queues = [{ ...QUEUE, notUndone: notUndone.slice(0, 2) }, { ...QUEUE, queue: 'media', notUndone: notUndone.slice(2) }]
  t.match(judge('compensation-failed', { queues }), [{
    type: 'Error',
    severity: 'critical',
    title: 'Saga Not Undone',
    key: 'transcode',
    message: /^2 sagas transcode could not undo all steps; the newest is j3, with the steps upload, renditions\/hd\. .* redrive it$/,
    details: { job_name: 'transcode', failed: 2, threshold: 1, jobs: [{ job_id: 'j3', steps: 'upload, renditions/hd' }, { job_id: 'j1', steps: 'upload' }] }
  }, { key: 'zip', message: /^1 saga zip could not / }])
  t.match(judge('compensation-failed', { queues }, { failedCompensations: 2 }), [{ key: 'transcode' }])
  t.same(judge('compensation-failed', { queues }, { failedCompensations: 3 }), [])
  t.equal(judge('compensation-failed', { queues: undefined }), 'unknown', 'it is not resolved while the store is away')
})

t.test('webhooks that were given up, of all deliveries together', async (t) => {
  const delivery = { name: 'webhook-delivery', completed: 5, failed: 2, attempts: 0, p95Ms: undefined }
  const jobs = [{ ...delivery, name: 'other', failed: 9 }, delivery]
  t.match(judge('webhooks-failed', { jobs }), [{
    type: 'Error', severity: 'high', message: /^2 webhooks were given up in the last hour; .* 11103 /, details: { failed: 2, threshold: 1 }
  }])
  t.same(judge('webhooks-failed', { jobs }, { failedWebhooks: 3 }), [])
  t.same(judge('webhooks-failed', { jobs }, { failedWebhooks: false }), [])
  t.same(judge('webhooks-failed', { jobs: [] }), [])
})

t.test('stuck: over all queues, for ten minutes', async (t) => {
  const stuckJobs = [{ jobId: 'j1', jobName: 'a', state: 'in-progress' as const, runningMs: 700_000 }]
  t.same(judge('stuck-jobs', { queues: [{ ...QUEUE, stuck: 4 }] }), [])
  t.match(judge('stuck-jobs', { queues: [{ ...QUEUE, stuck: 3, stuckJobs }, { ...QUEUE, queue: 'other', stuck: 2 }] }), [{
    type: 'System', severity: 'medium', title: 'Stuck Jobs Detected', forMs: 600_000, details: { stuck: 5, jobs: [{ job_id: 'j1', status: 'in-progress', queue: 'default' }] }
  }])
})

t.test('memory: each process for itself', async (t) => {
  const processes = [PROCESS, { ...PROCESS, instance: 'full', memory: { usedBytes: 81, limitBytes: 100 } }, { ...PROCESS, instance: 'edge', memory: { usedBytes: 80, limitBytes: 100 } }]
  t.match(judge('memory', { processes }), [{ type: 'System', severity: 'high', title: 'High Memory Usage', key: 'full', details: { memory_usage_percent: 81 } }])
})

t.test('a missing worker: jobs wait, nobody claims, and not because all are busy', async (t) => {
  const waiting = { ...QUEUE, oldestAgeMs: 300_001, claimAgeMs: 300_001 }
  t.match(judge('worker-missing', { queues: [waiting] }), [{ severity: 'critical', key: 'default', message: 'jobs wait in the queue default, the oldest for 5 min (3 queued, 0 scheduled), and no worker has claimed a job of it for 5 min', details: { queued: 3, oldest_age_ms: 300_001 } }])
  t.match(judge('worker-missing', { queues: [{ ...waiting, paused: true }] }), [{ message: /every worker of this queue is paused/ }])
  for (const fine of [{ oldestAgeMs: 300_000 }, { oldestAgeMs: undefined }, { claimAgeMs: 300_000 }, { busy: true }]) t.same(judge('worker-missing', { queues: [{ ...waiting, ...fine }] }), [], JSON.stringify(fine))
  const consumer = { queue: 'default', active: 0, concurrency: 2, paused: false, silentMs: 300_001 }
  const silent = (parts: object): unknown => judge('worker-silent', { processes: [{ ...PROCESS, consumers: [{ ...consumer, ...parts }] }] })
  t.match(silent({}), [{ severity: 'high', key: 'host:1:a:default' }])
  for (const fine of [{ active: 2 }, { paused: true }, { silentMs: 300_000 }]) t.same(silent(fine), [], JSON.stringify(fine))
})

t.test('a store that did not answer is no reason to call an alert over', async (t) => {
  const away = { queues: undefined, deadLetters: undefined }
  t.same([...JUDGES.keys()].filter((rule) => judge(rule, away) === 'unknown'), ['stuck-jobs', 'dead-letter-growth', 'compensation-failed', 'worker-missing'])
})
