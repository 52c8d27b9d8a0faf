import t from 'tap'
import { createContext, silentLogger } from '../../lib/core/context.ts'
import { EventBus } from '../../lib/events/bus.ts'
import { addRequirementChecks, addStuckCheck, stuckCheck } from '../../lib/health/job-checks.ts'
import { Health } from '../../lib/health/registry.ts'
import { compileDefinition, type JobDefinition, type JobDefinitionInput } from '../../lib/jobs/definition.ts'
import type { JobRecord } from '../../lib/jobs/job.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'

const define = (parts: Partial<JobDefinitionInput>): JobDefinition => compileDefinition({ name: 'report', handler: () => {}, ...parts })

function make (): { health: Health, clock: FakeClock } {
  const clock = new FakeClock()
  return { clock, health: new Health(createContext({ clock }), new EventBus(silentLogger)) }
}

const NOTHING_RUNS = { running: async () => [] }

t.test('S3-34: a check for everything that a job requires, named after both', async (t) => {
  const { health } = make()
  let bucket = true
  addRequirementChecks(health, define({
    name: 'generate-report',
    requires: {
      s3: () => bucket,
      mail: { check: () => ({ status: 'Degraded', description: 'slow' }), critical: false, tags: ['ready', 'smtp'] }
    }
  }))
  t.match((await health.report()).checks.slice(1), [
    { name: 'generate-report-s3', status: 'Healthy', tags: ['job', 's3'] },
    { name: 'generate-report-mail', status: 'Degraded', description: 'slow', tags: ['job', 'mail', 'ready', 'smtp'] }
  ])
  t.strictSame((await health.readiness()).checks.map(({ name }) => name), ['application', 'generate-report-mail'], 'part of readiness only when it says so')
  bucket = false
  t.equal((await health.report()).checks[1]?.status, 'Healthy', 'reused: what is far is not asked at every probe')
})

t.test('a requirement that is away is Unhealthy; asked again after ten seconds, given up after five', async (t) => {
  const { health, clock } = make()
  health.started()
  let calls = 0
  addRequirementChecks(health, define({ requires: { s3: () => { calls++; throw new Error('away') }, hung: () => new Promise(() => {}) } }))
  const asked = health.report()
  await clock.advance(5_000)
  t.match(await asked, { status: 'Unhealthy', checks: [{}, { name: 'report-s3', status: 'Unhealthy' }, { name: 'report-hung', description: 'no answer within 5000 ms' }] })
  await clock.advance(4_999)
  await health.report()
  t.equal(calls, 1)
  await clock.advance(1)
  const again = health.report()
  await clock.advance(5_000)
  await again
  t.equal(calls, 2)
})

t.test('bad requirements are refused when the job is defined', async (t) => {
  for (const requires of [{ s3: 'no' }, { 'a b': () => true }, { stuck: () => true }, { ready: () => true }, { s3: {} }, { s3: { check: () => true, timeout: 5 } }, { s3: { check: () => true, cacheMs: -1 } }]) {
    t.throws(() => define({ requires: requires as never }), { code: 'FAE_INVALID_OPTIONS', message: /requires/ }, JSON.stringify(requires))
  }
})

t.test('S3-36: attempts that are older than their time and their grace', async (t) => {
  const clock = new FakeClock()
  const job = (name: string, ageMs: number | undefined): JobRecord => ({ name, startedAt: ageMs === undefined ? undefined : clock.now() - ageMs }) as Partial<JobRecord> as JobRecord
  const verdict = async (...jobs: JobRecord[]): Promise<unknown> => await stuckCheck({ name: 'report', timeoutMs: 300_000, graceMs: 2_000 }, { running: async () => jobs }, clock)({ signal: new AbortController().signal })
  t.match(await verdict(), { status: 'Healthy', description: 'no stuck jobs', data: { stuck_count: 0, threshold_seconds: 302 } })
  t.match(await verdict(job('report', 302_000), job('report', undefined), job('other', 900_000)), { status: 'Healthy' }, 'in time, not started, not mine')
  t.match(await verdict(job('report', 302_001), job('report', 900_000), job('report', 1)), { status: 'Degraded', description: '2 in progress for more than 302 s', data: { stuck_count: 2, threshold_seconds: 302 } })
})

t.test('a job without a limit of time cannot be stuck; the longest name has room for its checks', async (t) => {
  const { health, clock } = make()
  addStuckCheck(health, define({ timeoutMs: 0 }), NOTHING_RUNS, clock)
  t.equal((await health.report()).checks.length, 1)
  const long = define({ name: 'n'.repeat(100), requires: { ['r'.repeat(50)]: () => true } })
  addStuckCheck(health, long, NOTHING_RUNS, clock)
  addRequirementChecks(health, long)
  t.match((await health.report()).checks.map(({ name }) => name.length), [11, 106, 151])
})
