import t from 'tap'
import { createContext, silentLogger } from '../../lib/core/context.ts'
import { EventBus } from '../../lib/events/bus.ts'
import { Health } from '../../lib/health/registry.ts'
import { RunningSteps } from '../../lib/health/running-steps.ts'
import { addQueueCheck, addStuckStepsCheck, Compensations } from '../../lib/health/saga-checks.ts'
import { compileDefinition } from '../../lib/jobs/compile-definition.ts'
import { type JobDefinition } from '../../lib/jobs/definition.ts'
import type { JobRecord } from '../../lib/jobs/job.ts'
import type { SagaPlan } from '../../lib/jobs/saga-plan.ts'
import type { StepScope } from '../../lib/jobs/seams.ts'
import type { CountsReading } from '../../lib/jobs/store-counts.ts'
import { compileSaga } from '../../lib/saga/compile.ts'
import type { NoResults, SagaEnd, SagaInput, SagaSteps } from '../../lib/saga/types.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'

type Chain = (s: SagaSteps<SagaInput, NoResults>) => SagaEnd<unknown, unknown>

const plan = (steps: Chain, name = 'transcode'): SagaPlan => compileSaga({
  name, steps, timeoutMs: 0, graceMs: 2_000, retry: { attempts: 3 }, signalValidator: () => async (value) => value
})

function define (saga: SagaPlan, requires: JobDefinition['requires'] = {}): JobDefinition {
  return { ...compileDefinition({ name: saga.name, handler: () => {}, requires }), saga }
}

function make () {
  const clock = new FakeClock()
  const bus = new EventBus(silentLogger)
  const health = new Health(createContext({ clock }), bus)
  return { clock, bus, health, last: async () => (await health.report()).checks.at(-1) }
}

const scopeOf = (definition: JobDefinition, parts: Partial<StepScope>): StepScope => ({ kind: 'step', attempt: { definition }, ...parts }) as StepScope

t.test('S3-36: steps and compensations are stuck by their own time limit and the grace, until they really end', async (t) => {
  const { clock, health, last } = make()
  const definition = define(plan((s) => s
    .step('upload', { run: () => 1, timeoutMs: 300_000, compensate: { run: () => {}, timeoutMs: 1_000 } })
    .parallel('renditions', (g) => g.step('hd', { run: () => 1, timeoutMs: 10_000 }))
    .each('notify', () => [1, 2], { run: () => 1, timeoutMs: 5_000 })
    .step('endless', { run: () => 1, timeoutMs: 0 })
    .returns(() => 1)))
  const steps = new RunningSteps(clock)
  addStuckStepsCheck(health, definition, steps)
  t.match(await last(), {
    name: 'transcode-stuck-tasks', tags: ['job', 'saga', 'stuck'], status: 'Healthy', description: 'No stuck tasks', data: { stuck_count: 0, steps_watched: 3 }
  })
  const ends: Array<() => void> = []
  const begin = (step: string, kind: StepScope['kind'] = 'step'): Promise<unknown> =>
    steps.middleware(scopeOf(definition, { step, kind }), () => new Promise<void>((resolve) => { ends.push(resolve) }))
  const running = [begin('endless'), begin('upload'), begin('renditions', 'group'), begin('renditions/hd'), begin('notify/1'), begin('', 'compensation'), begin('of a handler')]
  await clock.advance(7_000)
  t.match(await last(), { status: 'Healthy' }, 'not before the grace is over')
  await clock.advance(1)
  await clock.advance(1_000)
  t.match(await last(), {
    status: 'Degraded', description: '1 task(s) stuck in Running state for > 7s', data: { stuck_count: 1, threshold_seconds: 7, steps: 'notify', steps_watched: 3 }
  })
  running.push(begin('upload', 'undo'), begin('upload', 'undo'))
  await clock.advance(5_000)
  t.match(await last(), { description: '4 task(s) stuck in Running state for > 3s', data: { stuck_count: 4, steps: 'renditions/hd, notify, upload' } })
  for (const end of ends) end()
  await Promise.all(running)
  await clock.advance(300_000)
  t.match(await last(), { status: 'Healthy', data: { stuck_count: 0 } })
  const thrown = steps.middleware(scopeOf(definition, { step: 'upload' }), async () => { throw new Error('away') })
  await t.rejects(thrown, { message: 'away' })
  await clock.advance(400_000)
  t.match(await last(), { status: 'Healthy' }, 'one that throws has ended')
})

t.test('the steps of another saga, and of a job that is none, are not counted', async (t) => {
  const { clock } = make()
  const steps = new RunningSteps(clock)
  const chain: Chain = (s) => s.step('a', { run: () => 1, timeoutMs: 1_000 }).returns(() => 1)
  const never = (): Promise<never> => new Promise(() => {})
  void steps.middleware(scopeOf(define(plan(chain, 'one')), { step: 'a' }), never)
  void steps.middleware(scopeOf(compileDefinition({ name: 'plain', handler: () => {} }), { step: 'a' }), never)
  await clock.advance(60_000)
  t.same(steps.overdue('two'), [])
  t.same(steps.overdue('plain'), [])
  t.match(steps.overdue('one'), [{ step: 'a', limitMs: 3_000 }])
})

t.test('S3-33: the queue of a saga', async (t) => {
  const { clock, health, last } = make()
  const world: { fails?: Error } = {}
  const reading = { counts: { states: { queued: 3, scheduled: 1 } }, askedAt: 0 } as CountsReading
  const chain: Chain = (s) => s.step('a', () => 1).returns(() => 1)
  addQueueCheck(health, define(plan(chain, 'create-zip')), { read: async () => { if (world.fails !== undefined) throw world.fails; return reading } })
  t.match(await last(), { name: 'create-zip-queue', tags: ['job', 'saga', 'queue'], status: 'Healthy', description: "Queue 'default' is reachable", data: { queued: 3 } })
  world.fails = Object.assign(new Error('redis://user:secret@host'), { code: 'ECONNREFUSED' })
  await clock.advance(1_000)
  const away = await last()
  t.match(away, { status: 'Unhealthy', description: "Queue 'default' is unreachable", data: { queue: 'default', error: 'ECONNREFUSED' } })
  t.notMatch(JSON.stringify(away), 'secret')
})

t.test('what a saga requires may be named as these checks are: then its own check counts', async (t) => {
  const { clock, health } = make()
  const definition = define(plan((s) => s.step('a', () => 1).returns(() => 1)), { queue: () => true, 'stuck-tasks': () => true })
  addQueueCheck(health, definition, { read: () => { throw new Error('not asked') } })
  addStuckStepsCheck(health, definition, new RunningSteps(clock))
  t.same((await health.report()).checks.map(({ name }) => name), ['application'])
})

interface World {
  readonly compensations: Compensations
  readonly clock: FakeClock
  readonly jobs: Map<string, JobRecord>
  sagas: object | undefined
}

const NONE = { compensating: 0, compensatingSince: undefined, awaitingSignal: 0, notUndone: 0, notUndoneIds: [] }

function compensating (maxCompensationMs = 900_000): World {
  const { clock, health } = make()
  const jobs = new Map<string, JobRecord>()
  const world: World = {
    clock,
    jobs,
    sagas: undefined,
    compensations: new Compensations({
      clock,
      maxCompensationMs,
      store: { get: async (id) => jobs.get(id) },
      counts: { read: async (queue) => ({ counts: { sagas: queue === 'default' ? world.sagas : NONE }, askedAt: 0 }) as CountsReading },
      queues: () => ['default', 'media']
    })
  }
  world.compensations.addTo(health)
  return world
}

function failed (id: string, steps: readonly string[]): JobRecord {
  const facts = Object.fromEntries(steps.map((path) => [path, JSON.stringify({ s: 'x', a: 1, m: 1, t: 0 })]))
  return { id, name: 'transcode', state: 'failed', facts: { ...facts, probe: '{"s":"z","a":1,"m":1,"t":0}' } } as Partial<JobRecord> as JobRecord
}

t.test('a saga that has been undoing its steps for long is Degraded, in whichever process', async (t) => {
  const world = compensating()
  t.strictSame(await world.compensations.look(), {
    status: 'Healthy', description: 'no compensation takes too long, and none has failed', data: { compensating: 0, oldest_seconds: 0, threshold_seconds: 900, compensation_failed: 0 }
  }, 'also with a store that keeps no steps')
  world.sagas = { ...NONE, compensating: 2, compensatingSince: world.clock.now() }
  await world.clock.advance(900_000)
  t.match(await world.compensations.look(), { status: 'Healthy', data: { compensating: 2, oldest_seconds: 900 } })
  await world.clock.advance(1)
  t.match(await world.compensations.look(), { status: 'Degraded', description: 'a saga has been undoing its steps for more than 900 s' })
  world.sagas = NONE
  t.match(await world.compensations.look(), { status: 'Healthy' })
})

t.test('sagas that could not undo their steps, as the store counts them: Degraded, a few are named', async (t) => {
  const world = compensating()
  world.jobs.set('a', failed('a', ['upload', 'renditions/hd']))
  world.jobs.set('b', failed('b', ['upload']))
  world.sagas = { ...NONE, notUndone: 2, notUndoneIds: ['a', 'b'] }
  t.match(await world.compensations.look(), {
    status: 'Degraded', description: 'steps that could not be undone: transcode (renditions/hd, upload), transcode (upload)', data: { compensation_failed: 2 }
  })
  const ids = Array.from({ length: 20 }, (_, n) => `job-${n}`)
  for (const id of ids) world.jobs.set(id, failed(id, [`of-${id}`]))
  world.sagas = { ...NONE, notUndone: 1_000, notUndoneIds: ids }
  t.match(await world.compensations.look(), { data: { compensation_failed: 1_000 }, description: /: transcode \(of-job-0\).*of-job-4\) and 995 more$/ })
  world.jobs.set('job-0', failed('job-0', []))
  t.match(await world.compensations.look(), { description: /: transcode \(unknown\), / }, 'its steps cannot be read')
  world.jobs.clear()
  t.match(await world.compensations.look(), { status: 'Degraded', description: 'steps that could not be undone: those of 1000 saga(s)' }, 'removed since they were counted')
})
