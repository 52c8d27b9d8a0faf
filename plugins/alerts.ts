import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { PLUGIN } from '../lib/core/plugin-names.ts'
import { runtimeOf, workerOf } from '../lib/events/runtime.ts'
import { Alerts } from '../lib/monitor/alerts/alerts.ts'
import type { JobAlerts } from '../lib/monitor/alerts/job-alerts.ts'
import { readAlertsOptions, type AlertsOptions } from '../lib/monitor/alerts/options.ts'
import type { AlertWorkerView } from '../lib/monitor/alerts/process-report.ts'
import { compileExclusion } from '../lib/telemetry/job-exclusion.ts'
import type { AsyncEndpointsMetrics } from '../lib/telemetry/metrics.ts'

export type { AlertsOptions } from '../lib/monitor/alerts/options.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** What is wrong now, and `check()` to find out at once. */
    jobAlerts: JobAlerts
  }
}

const STOP_MS = 5_000

async function alertsPlugin (app: FastifyInstance, given: AlertsOptions): Promise<void> {
  const options = readAlertsOptions(given)
  const { context, bus, redaction, store, counts, registry, traceExits } = runtimeOf(app)
  const alerts = new Alerts({
    context,
    bus,
    redaction,
    options,
    store,
    counts,
    queues: () => registry.queues(),
    // Plugins that come later, or not at all.
    worker: () => workerOf<AlertWorkerView>(app),
    firing: (count, labels) => {
      if (!app.hasPlugin(PLUGIN.observability)) return
      app.getDecorator<AsyncEndpointsMetrics>('jobMetrics').alertsFiring(count, labels)
    },
    excluded: compileExclusion(options.excludeJobs),
    long: compileExclusion(options.longJobs),
    quietly: (work) => traceExits === undefined ? work() : traceExits.quietly(work),
    plainly: (work) => traceExits === undefined ? work() : traceExits.plainly(work)
  })
  app.decorate('jobAlerts', alerts)
  alerts.watch()
  app.addHook('onReady', async () => { await alerts.start() })
  app.addHook('onClose', async () => { await alerts.stop(STOP_MS) })
}

/**
 * Notifies people when jobs are slow, fail or get stuck, or when a worker is missing. Works with and without
 * observability.
 */
export const alerts = fp(alertsPlugin, { name: PLUGIN.alerts, fastify: '5.x', dependencies: [PLUGIN.jobStore] })
export default alerts
