/** The health of an application whose sagas really hang, and really cannot undo their steps. */
import t from 'tap'
import { until } from '../support/redis-jobs.ts'
import { finished, sagaApp, STORES } from './support.ts'

interface Check { readonly name: string, readonly status: string, readonly description: string, readonly data: Record<string, unknown> }

t.test('S3-33..S3-36: a saga brings its checks, which see a step that ignores its abort, and a compensation that fails', async (t) => {
  let release = (): void => {}
  let healed = false
  const { app } = await sagaApp(t, (app) => {
    app.saga({
      name: 'hang',
      requires: { s3: () => true },
      graceMs: 1,
      steps: (s) => s.step('upload', { run: () => new Promise<void>((resolve) => { release = resolve }), timeoutMs: 20, attempts: 1 }).returns(() => null)
    })
    app.saga({
      name: 'broken',
      steps: (s) => s
        .step('reserve', { run: () => 1, compensate: { run: () => { if (!healed) throw new Error('no') }, attempts: 1 } })
        .step('pay', { run: () => { throw new Error('declined') }, attempts: 1 })
        .returns(() => null)
    })
    app.defineJob({ name: 'plain', handler: () => 1 })
  })
  const checks = async (): Promise<Map<string, Check>> => new Map((await app.inject('/health')).json<{ checks: Check[] }>().checks.map((check) => [check.name, check]))
  const before = await checks()
  t.match([...before.keys()].filter((name) => /hang|broken|plain|compensations/.test(name)), [
    'asyncendpoints.compensations', 'hang-queue', 'hang-stuck-tasks', 'hang-s3', 'broken-queue', 'broken-stuck-tasks'
  ])
  t.match(before.get('hang-queue'), { status: 'Healthy', description: "Queue 'default' is reachable" })
  t.equal((await finished(app, 'hang')).job.error?.code, 'FAE_STEP_TIMEOUT')
  t.match((await app.jobHealth.report()).checks.find(({ name }) => name === 'hang-stuck-tasks'), { status: 'Healthy' }, 'reused for a second')
  const later = async (name: string, status: string): Promise<Check | undefined> => {
    for (let n = 0; n < 1_000; n++) {
      const check = (await checks()).get(name)
      if (check?.status === status) return check
      await new Promise((resolve) => { setTimeout(resolve, 20) })
    }
    throw new Error(`waited 20 s for ${name} to be ${status}`)
  }
  t.match(await later('hang-stuck-tasks', 'Degraded'), { description: '1 task(s) stuck in Running state for > 0.021s', data: { stuck_count: 1, steps: 'upload' } })
  release()
  t.match(await later('hang-stuck-tasks', 'Healthy'), { description: 'No stuck tasks' })

  const { id, job } = await finished(app, 'broken')
  t.equal(job.error?.code, 'FAE_COMPENSATION_FAILED')
  t.match(await later('asyncendpoints.compensations', 'Degraded'), { description: 'steps that could not be undone: broken (reserve)' })
  healed = true
  await app.jobs.redrive(id)
  await app.jobs.waitFor(id, { timeoutMs: 10_000 })
  t.match(await later('asyncendpoints.compensations', 'Healthy'), { data: { compensation_failed: 0 } })
})

for (const { kind, open } of STORES) {
  t.test(`${kind}: a saga that undoes its steps for long is Degraded, until it has ended`, async (t) => {
    let release = (): void => {}
    const { app } = await sagaApp(t, (app) => {
      app.saga({
        name: 'slow',
        steps: (s) => s
          .step('reserve', { run: () => 1, compensate: () => new Promise<void>((resolve) => { release = resolve }) })
          .step('pay', { run: () => { throw new Error('declined') }, attempts: 1 })
          .returns(() => null)
      })
    }, { store: await open(t), health: { maxCompensationMs: 1 } })
    const { id } = await app.jobs.submit('slow' as never)
    const until = async (status: string): Promise<unknown> => {
      for (let n = 0; n < 500; n++) {
        const check = (await app.jobHealth.report()).checks.find(({ name }) => name === 'asyncendpoints.compensations')
        if (check?.status === status) return check
        await new Promise((resolve) => { setTimeout(resolve, 20) })
      }
      throw new Error(`waited 10 s for the check to be ${status}`)
    }
    t.match(await until('Degraded'), { description: 'a saga has been undoing its steps for more than 0.001 s', data: { compensating: 1 } })
    release()
    await app.jobs.waitFor(id, { timeoutMs: 10_000 })
    t.match(await until('Healthy'), { data: { compensating: 0 } })
  })
}

t.test('each of these checks can be switched off; the option of the time is checked', async (t) => {
  const { app } = await sagaApp(t, (app) => {
    app.saga({ name: 'one', steps: (s) => s.step('a', () => 1).returns(() => null) })
  }, { health: { checks: { stuck: false, sagaQueue: false, compensations: false } } })
  t.notMatch((await app.jobHealth.report()).checks.map(({ name }) => name).join(), /one|compensations|stuck/)
  await t.rejects(sagaApp(t, () => {}, { health: { maxCompensationMs: 0 } }), { code: 'FAE_INVALID_OPTIONS', message: /maxCompensationMs/ })
})

t.test('an alert names the saga that could not undo its steps, with the job and the steps', async (t) => {
  const { app } = await sagaApp(t, (app) => {
    app.saga({
      name: 'broken',
      steps: (s) => s
        .step('reserve', { run: () => 1, compensate: { run: () => { throw new Error('secret of the application') }, attempts: 1 } })
        .step('pay', { run: () => { throw new Error('declined') }, attempts: 1 })
        .returns(() => null)
    })
  }, { alerts: { memoryRatio: false } })
  await app.jobAlerts.check()
  t.same(await app.jobAlerts.active(), [])
  const { id } = await finished(app, 'broken')
  // The counts of the store are reused for a moment.
  const active = async (): Promise<readonly unknown[]> => {
    await app.jobAlerts.check()
    return await app.jobAlerts.active()
  }
  await until('it is found', async () => (await active()).length > 0)
  const alerts = await active()
  t.match(alerts, [{
    fingerprint: 'compensation-failed:broken',
    severity: 'critical',
    type: 'Error',
    details: { job_name: 'broken', failed: 1, jobs: [{ job_id: id, steps: 'reserve' }] }
  }])
  t.notMatch(JSON.stringify(alerts), 'secret of the application')
})
