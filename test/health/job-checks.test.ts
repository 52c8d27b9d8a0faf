import t from 'tap'
import { createContext, silentLogger } from '../../lib/core/context.ts'
import { EventBus } from '../../lib/events/bus.ts'
import { addRequirementChecks, StuckJobs } from '../../lib/health/job-checks.ts'
import { Health } from '../../lib/health/registry.ts'
import { compileDefinition } from '../../lib/jobs/compile-definition.ts'
import type { JobDefinition, JobDefinitionInput } from '../../lib/jobs/definition.ts'
import type { JobRecord } from '../../lib/jobs/job.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'

const define = (parts: Partial<JobDefinitionInput>): JobDefinition => compileDefinition({ name: 'report', handler: () => {}, ...parts })

function make (): { health: Health, clock: FakeClock } {
  const clock = new FakeClock()
  return { clock, health: new Health(createContext({ clock }), new EventBus(silentLogger)) }
}

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
  for (const requires of [{ s3: 'no' }, { 'a b': () => true }, { ready: () => true }, { s3: {} }, { s3: { check: () => true, timeout: 5 } }, { s3: { check: () => true, cacheMs: -1 } }]) {
    t.throws(() => define({ requires: requires as never }), { code: 'FAE_INVALID_OPTIONS', message: /requires/ }, JSON.stringify(requires))
  }
})

t.test('S3-36: one check for the attempts of all jobs that are older than their time and their grace', async (t) => {
  const clock = new FakeClock()
  const job = (name: string, ageMs: number | undefined): JobRecord => ({ name, startedAt: ageMs === undefined ? undefined : clock.now() - ageMs }) as Partial<JobRecord> as JobRecord
  const definitions = [define({ name: 'report', timeoutMs: 300_000, graceMs: 2_000 }), define({ name: 'mail', timeoutMs: 1_000, graceMs: 0 }), define({ name: 'endless', timeoutMs: 0 })]
  const look = async (...jobs: JobRecord[]): ReturnType<StuckJobs['look']> => await new StuckJobs({ all: () => definitions }, { running: async () => jobs }, clock).look()
  t.strictSame(await look(), { status: 'Healthy', description: 'no stuck jobs', data: { stuck_count: 0, jobs_watched: 2 } })
  t.match(await look(job('report', 302_000), job('report', undefined), job('other', 900_000), job('endless', 900_000)), { status: 'Healthy' }, 'in time, not started, not mine, without a limit')
  t.strictSame(await look(job('mail', 5_000), job('report', 302_001), job('report', 900_000), job('report', 1)), {
    status: 'Degraded',
    description: 'in progress for longer than they may: report (2 for more than 302 s), mail (1 for more than 1 s)',
    data: { stuck_count: 3, jobs_watched: 2, 'report.stuck_count': 2, 'report.threshold_seconds': 302, 'mail.stuck_count': 1, 'mail.threshold_seconds': 1 }
  })
})

t.test('many jobs are stuck: one line, the worst of them named, and no more facts than a report shows', async (t) => {
  const clock = new FakeClock()
  const definitions = Array.from({ length: 30 }, (_, index) => define({ name: `job-${index}`, timeoutMs: 1_000, graceMs: 0 }))
  const jobs = definitions.flatMap(({ name }, index) => Array.from({ length: index + 1 }, () => ({ name, startedAt: clock.now() - 60_000 }) as Partial<JobRecord> as JobRecord))
  const { health } = make()
  new StuckJobs({ all: () => definitions }, { running: async () => jobs }, clock).addTo(health)
  const { checks } = await health.report()
  t.equal(checks.length, 2)
  t.match(checks[1], { name: 'asyncendpoints.stuck', tags: ['job', 'stuck'], status: 'Degraded', data: { stuck_count: 465, 'job-29.stuck_count': 30, 'job-21.threshold_seconds': 1 } })
  t.equal(Object.keys(checks[1]?.data ?? {}).length, 20)
  t.match((await new StuckJobs({ all: () => definitions }, { running: async () => jobs }, clock).look()).description, /^in progress .*job-29 \(30 for more than 1 s\).*, 21 more$/)
})

t.test('without a job that has a limit of time the store is not asked; the longest name has room for its checks', async (t) => {
  const { health, clock } = make()
  let asked = 0
  new StuckJobs({ all: () => [define({ timeoutMs: 0 })] }, { running: async () => { asked++; return [] } }, clock).addTo(health)
  t.match((await health.report()).checks[1], { name: 'asyncendpoints.stuck', status: 'Healthy' })
  t.equal(asked, 0)
  addRequirementChecks(health, define({ name: 'n'.repeat(100), requires: { ['r'.repeat(50)]: () => true } }))
  t.equal((await health.report()).checks[2]?.name.length, 151)
})
