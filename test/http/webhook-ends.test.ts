/** Every end of a delivery is reported once, with its host and its job, whatever ends it. */
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { makeWebhookRunner, type WebhookRunnerParts } from '../../lib/channels/webhook-runner.ts'
import { runtimeOf } from '../../lib/events/runtime.ts'
import { DELIVERY_JOB } from '../../lib/events/webhook-catalogue.ts'
import type { AttemptScope } from '../../lib/jobs/seams.ts'
import { deliveryId } from '../../lib/jobs/webhook.ts'
import asyncEndpoints from '../../plugins/async-endpoints.ts'
import { STORES } from '../saga/support.ts'
import { until } from '../support/redis-jobs.ts'
import { LOCAL, SECRET, WebhookReceiver } from '../support/webhook-receiver.ts'

interface Setup {
  readonly app: FastifyInstance
  readonly receiver: WebhookReceiver
  readonly ends: string[]
  readonly metric: (outcome: string) => Promise<string | undefined>
}

async function setUp (t: Test, store: Awaited<ReturnType<typeof STORES[number]['open']>>): Promise<Setup> {
  const receiver = await WebhookReceiver.start()
  const app = Fastify()
  t.teardown(async () => {
    await app.close()
    await receiver.close()
  })
  await app.register(asyncEndpoints, {
    store, webhooks: { secret: SECRET, outbound: LOCAL, scheduleMs: [0] }, health: false
  })
  const ends: string[] = []
  app.jobEvents.on('webhook.failed', ({ jobName, host, errorCode }) => { ends.push(`failed ${jobName} ${host} ${errorCode}`) })
  app.jobEvents.on('webhook.cancelled', ({ jobName, host, reason }) => { ends.push(`cancelled ${jobName} ${host} ${reason}`) })
  app.jobEvents.on('webhook.delivered', ({ jobName, host }) => { ends.push(`delivered ${jobName} ${host}`) })
  app.defineJob({ name: 'quick', handler: () => 1 })
  app.defineJob({ name: 'late', handler: () => 1 })
  await app.ready()
  return {
    app,
    receiver,
    ends,
    metric: async (outcome) => {
      const text = (await app.inject('/metrics')).body
      return new RegExp(`^asyncendpoints_webhooks_deliveries_total\\{.*outcome="${outcome}".*\\} (\\d+)`, 'm').exec(text)?.[1]
    }
  }
}

for (const { kind, open } of STORES) {
  t.test(`${kind}: cancelled and removed while it waits for its job`, async (t) => {
    const { app, receiver, ends, metric } = await setUp(t, await open(t))
    const [first, second] = await Promise.all(['late', 'late'].map(async (name) => {
      const { id } = await app.jobs.submit(name, {}, { delayMs: 3_600_000, webhook: receiver.url() })
      const delivery = deliveryId(id, 0)
      await until('the delivery waits', async () => (await app.jobs.get(delivery))?.state === 'scheduled')
      return delivery
    }))
    await app.jobs.cancel(first ?? '')
    await app.jobs.remove(second ?? '')
    t.same(ends, ['cancelled late 127.0.0.1 cancelled', 'cancelled late 127.0.0.1 removed'])
    t.equal(await metric('cancelled'), '2')
    await app.jobs.cancel(first ?? '')
    await app.jobs.remove(first ?? '')
    t.equal(ends.length, 2, 'what has ended does not end again')
  })

  t.test(`${kind}: cancelled and removed although its input cannot be read`, async (t) => {
    const store = await open(t)
    const { app, receiver, ends } = await setUp(t, store)
    const deliveries = await Promise.all(['late', 'late'].map(async (name) => {
      const { id } = await app.jobs.submit(name, {}, { delayMs: 3_600_000, webhook: receiver.url() })
      const delivery = deliveryId(id, 0)
      await until('the delivery waits', async () => (await app.jobs.get(delivery))?.state === 'scheduled')
      return delivery
    }))
    store.input = async () => { throw new Error('spoilt') }
    await app.jobs.cancel(deliveries[0] ?? '')
    await app.jobs.remove(deliveries[1] ?? '')
    t.match(ends, [/^cancelled .* cancelled$/, /^cancelled .* removed$/], 'both ends are reported')
    t.equal(await app.jobs.get(deliveries[1] ?? ''), undefined)
  })

  t.test(`${kind}: cancelled while it is sent`, async (t) => {
    const { app, receiver, ends } = await setUp(t, await open(t))
    receiver.hold = new Promise(() => {})
    const { id } = await app.jobs.submit('quick', {}, { webhook: receiver.url() })
    await receiver.message(1)
    await app.jobs.cancel(deliveryId(id, 0))
    await until('the delivery is cancelled', async () => (await app.jobs.get(deliveryId(id, 0)))?.state === 'cancelled')
    await until('it is reported', async () => ends.length > 0)
    t.same(ends, ['cancelled quick 127.0.0.1 cancelled'])
  })

  t.test(`${kind}: failed, but not by its runner`, async (t) => {
    const { app, receiver, ends, metric } = await setUp(t, await open(t))
    runtimeOf(app).attemptMiddleware.unshift(async ({ claim }, next) => {
      if (claim.job.name === DELIVERY_JOB) throw Object.assign(new Error('broken'), { code: 'E_BROKEN' })
      return await next()
    })
    const { id } = await app.jobs.submit('quick', {}, { webhook: receiver.url() })
    await app.jobs.waitFor(deliveryId(id, 0))
    await until('it is reported', async () => ends.length > 0)
    t.same(ends, ['failed quick 127.0.0.1 E_BROKEN'])
    t.equal(await metric('failed'), '1')
  })

  t.test(`${kind}: failed by its runner, and delivered: each once`, async (t) => {
    const { app, receiver, ends } = await setUp(t, await open(t))
    receiver.replies = [{ status: 410 }, { status: 204 }]
    for (let n = 0; n < 2; n++) {
      const { id } = await app.jobs.submit('quick', {}, { webhook: receiver.url() })
      await app.jobs.waitFor(deliveryId(id, 0))
      await until('it is reported', async () => ends.length > n)
    }
    t.same(ends, ['failed quick 127.0.0.1 HTTP_410', 'delivered quick 127.0.0.1'])
    await app.jobs.remove((await app.jobs.list({ name: DELIVERY_JOB, state: 'failed' })).jobs[0]?.id ?? '')
    t.equal(ends.length, 2)
  })
}

t.test('a delivery whose workers stop one after the other fails at last', async (t) => {
  const { afterStall } = makeWebhookRunner({} as WebhookRunnerParts)
  const stalled = async (attempts: number): Promise<unknown> => (
    await afterStall({ claim: { job: { attempts, maxAttempts: 8 } } } as unknown as AttemptScope)
  )
  // The attempt of the claim is counted.
  for (const attempts of [2, 9, 11]) t.equal(await stalled(attempts), undefined, 'it is sent again')
  t.match(await stalled(12), { kind: 'failed', error: { code: 'FAE_STALLED' } })
})
