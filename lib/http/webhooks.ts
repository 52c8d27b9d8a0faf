/** Switches webhooks on. */
import type { FastifyInstance } from 'fastify'
import { WebhookEnds } from '../channels/webhook-ends.ts'
import { makeWebhookJobs } from '../channels/webhook-jobs.ts'
import type { ResolvedWebhooksOptions } from '../channels/webhook-options.ts'
import { WebhookOrigins } from '../channels/webhook-origins.ts'
import { makeWebhookRunner } from '../channels/webhook-runner.ts'
import { httpTransport } from '../channels/webhook-sender.ts'
import { AsyncEndpointsError } from '../core/errors.ts'
import { runtimeOf } from '../events/runtime.ts'
import { DELIVERY_JOB } from '../events/webhook-catalogue.ts'
import { definerOf } from './define-job.ts'

/**
 * Lets submissions ask for webhooks, and defines the job that delivers them: a process with a worker on its queue
 * delivers.
 *
 * @param linkBase where the job routes are; `undefined`: this process has none
 * @throws {AsyncEndpointsError} `FAE_DUPLICATE_JOB`; `FAE_STORE_UNSUPPORTED` for a store that keeps no steps
 */
export function addWebhooks (app: FastifyInstance, options: ResolvedWebhooksOptions, linkBase: string | undefined): void {
  const runtime = runtimeOf(app)
  const { context: { clock }, runners, store } = runtime
  const { steps } = store
  if (steps === undefined) {
    throw new AsyncEndpointsError('FAE_STORE_UNSUPPORTED', `The store "${store.type}" keeps no steps, so that it has no webhooks`)
  }
  const transport = httpTransport(clock, options.outbound)
  app.addHook('onClose', async () => { transport.close() })
  definerOf(app).define(app, {
    name: DELIVERY_JOB, queue: options.queue, retry: { attempts: options.scheduleMs.length }, timeoutMs: 0, handler: neverCalled
  })
  const ends = new WebhookEnds(runtime)
  const origins = new WebhookOrigins(clock, options.maxPerOrigin)
  runners?.set(DELIVERY_JOB, makeWebhookRunner({ runtime, steps, options, origins, transport, ends }))
  runtime.webhooks = makeWebhookJobs({ runtime, options, transport, linkBase, ends })
}

/** The runner of deliveries stands in its place. */
function neverCalled (): never {
  throw new Error('a delivery has no handler')
}
