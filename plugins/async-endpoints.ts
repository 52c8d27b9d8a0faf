import type {
  FastifyBaseLogger, FastifyInstance, FastifyTypeProvider, RawReplyDefaultExpression, RawRequestDefaultExpression,
  RawServerBase
} from 'fastify'
import fp from 'fastify-plugin'
import type { JobsClient } from '../lib/client/jobs.ts'
import { OptionProblems, readOptions, type OptionsSchema } from '../lib/core/options.ts'
import { PLUGIN } from '../lib/core/plugin-names.ts'
import { REGISTERED } from '../lib/core/registered-channel.ts'
import { backboneOf } from '../lib/channels/backbone.ts'
import { runtimeOf } from '../lib/events/runtime.ts'
import { readHealthOptions } from '../lib/health/options.ts'
import { definerOf } from '../lib/http/define-job.ts'
import { defineEndpoint, type AnyEndpointOptions } from '../lib/http/endpoint.ts'
import { jobLinkFunction, type JobLinkFunction } from '../lib/http/job-link.ts'
import { addJobRoutes } from '../lib/http/job-routes.ts'
import { reportLeftOpen } from '../lib/http/left-open.ts'
import { addSocketRoute } from '../lib/http/socket-route.ts'
import { readListeningOptions, type ListeningOptions, type ResolvedListeningOptions } from '../lib/channels/options.ts'
import { readWebhooks, type ResolvedWebhooksOptions, type WebhooksOptions } from '../lib/channels/webhook-options.ts'
import { addWebhooks } from '../lib/http/webhooks.ts'
import { readHttpOptions, type HttpOptions } from '../lib/http/options.ts'
import { addRefusals } from '../lib/http/refusals.ts'
import {
  createHttpRuntime, jobRoutesAccess, type AsyncEndpointsRouteConfig, type HttpRuntime
} from '../lib/http/http-runtime.ts'
import { defineSaga, type AnySagaOptions, type SagaOptions } from '../lib/http/saga.ts'
import type { DefinedTypes, EndpointOptions, EndpointSchema, ResultBound } from '../lib/http/types.ts'
import type { JobDefinition, JobTypes } from '../lib/jobs/definition.ts'
import { readAlertsOptions } from '../lib/monitor/alerts/options.ts'
import { workerSchema } from '../lib/worker/worker-options.ts'
import { alerts, type AlertsOptions } from './alerts.ts'
import { health, type HealthOptions } from './health.ts'
import { jobStore, jobStoreSchema, type JobStoreOptions } from './job-store.ts'
import { observability, readObservabilityOptions, type ObservabilityOptions } from './observability.ts'
import { worker, type WorkerOptions } from './worker.ts'

/** The options of the whole suite. Each part is also a plugin of its own. */
export interface AsyncEndpointsOptions extends JobStoreOptions {
  /** Whether, and how, this process runs jobs. `false`: an API-only process. @defaultValue true */
  worker?: boolean | WorkerOptions | undefined
  /**
   * The job routes and endpoints. `false`: a worker-only process, in which `app.asyncEndpoint()` defines the job but
   * adds no route.
   *
   * @defaultValue true
   */
  http?: boolean | HttpOptions | undefined
  /**
   * Metrics at `/metrics`, traces, and numbered log lines. `false`: none of these, and no part of OpenTelemetry is
   * loaded.
   *
   * @defaultValue true
   */
  observability?: boolean | ObservabilityOptions | undefined
  /** The health checks and their routes. @defaultValue true */
  health?: boolean | HealthOptions | undefined
  /**
   * Notifies people when jobs are slow, fail or get stuck, or when a worker is missing. `true`: in log lines; an
   * object sets more options. Off by default, because only the application knows what is too slow or too much.
   *
   * @defaultValue false
   */
  alerts?: boolean | AlertsOptions | undefined
  /** How clients listen to their jobs: server-sent events, WebSocket. */
  listening?: ListeningOptions | undefined
  /**
   * Webhooks: calls a URL when a job has ended, as the endpoint or the submission asks. Messages are signed, and
   * delivered by jobs of their own.
   *
   * @defaultValue no webhooks
   */
  webhooks?: WebhooksOptions | undefined
}

declare module 'fastify' {
  interface FastifyInstance<
    RawServer extends RawServerBase, RawRequest extends RawRequestDefaultExpression<RawServer>,
    RawReply extends RawReplyDefaultExpression<RawServer>,
    Logger extends FastifyBaseLogger, TypeProvider extends FastifyTypeProvider
  > {
    /**
     * Defines a job and the route that submits it, in this context: its prefix, hooks and type provider apply.
     *
     * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` (one message with every bad key), `FAE_DUPLICATE_JOB`;
     * nothing is registered then
     */
    asyncEndpoint<
      Types extends JobTypes = JobTypes, const Schema extends EndpointSchema = EndpointSchema,
      const Header extends string = string,
      Result extends ResultBound<TypeProvider, Schema, Types> = ResultBound<TypeProvider, Schema, Types>
    >(
      options: EndpointOptions<TypeProvider, Types, Schema, Header, Result>
    ): JobDefinition<DefinedTypes<TypeProvider, Types, Schema, Result>>

    /**
     * A link that opens one job to anybody who has it, until it expires.
     *
     * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` without `http.links`, and for a bad argument
     */
    jobLink: JobLinkFunction

    /**
     * Defines a saga: a job made of steps, each of which is run once and stored, and undone when the saga cannot go on.
     * With a `url`, also the route that submits it, in this context.
     *
     * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` (one message with everything that is wrong with the options and
     * the steps), `FAE_DUPLICATE_JOB`, `FAE_STORE_UNSUPPORTED` for a store that keeps no steps; nothing is registered then
     */
    saga<
      Types extends JobTypes = JobTypes, const Schema extends EndpointSchema = EndpointSchema,
      const Header extends string = string,
      Result extends ResultBound<TypeProvider, Schema, Types> = ResultBound<TypeProvider, Schema, Types>
    >(
      options: SagaOptions<TypeProvider, Types, Schema, Header, Result>
    ): JobDefinition<DefinedTypes<TypeProvider, Types, Schema, Result>>
  }

  interface FastifyContextConfig {
    /** On the routes of this package: what they are for. */
    asyncEndpoints?: AsyncEndpointsRouteConfig
  }
}

const umbrellaSchema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    ...jobStoreSchema.properties as object,
    worker: {},
    http: {},
    observability: {},
    health: {},
    alerts: {},
    listening: { type: 'object' },
    webhooks: { type: 'object' }
  }
}

/** The parts that the application may have registered by itself, before this plugin. */
const PARTS = ['observability', 'worker', 'health', 'alerts'] as const

async function asyncEndpointsPlugin (app: FastifyInstance, given: AsyncEndpointsOptions): Promise<void> {
  const options = readUmbrella(app, given)
  const {
    observability: observabilityOptions = true,
    worker: workerOptions = true,
    http = true,
    health: healthOptions = true,
    alerts: alertsOptions = false,
    listening,
    webhooks: webhooksOptions,
    ...storeOptions
  } = options

  // In this order: closing runs in reverse, so connections close last.
  if (!app.hasPlugin(PLUGIN.jobStore)) await app.register(jobStore, storeOptions)
  // Off is an object of the same shape that does nothing: `app.jobMetrics` is there either way.
  if (!app.hasPlugin(PLUGIN.observability)) {
    const off = observabilityOptions === false
    await app.register(observability, off ? { enabled: false } : settings(observabilityOptions))
  }
  if (workerOptions !== false && !app.hasPlugin(PLUGIN.worker)) await app.register(worker, settings(workerOptions))
  if (healthOptions !== false && !app.hasPlugin(PLUGIN.health)) await app.register(health, settings(healthOptions))
  if (alertsOptions !== false && !app.hasPlugin(PLUGIN.alerts)) await app.register(alerts, settings(alertsOptions))

  const webhooks = webhooksOptions === undefined ? undefined : readWebhooks(webhooksOptions)
  const httpRuntime = http === false ? undefined : openHttp(app, settings(http), readListeningOptions(listening), webhooks)
  if (webhooks !== undefined) addWebhooks(app, webhooks, httpRuntime?.links.base)
  app.decorate('asyncEndpoint', function asyncEndpoint (this: FastifyInstance | undefined, endpoint: unknown) {
    // `this` is the context it was called on; a detached call means the one it was made for.
    const target = this ?? app
    return defineEndpoint(
      target, httpRuntime, (input, compilers) => definerOf(app).define(target, input, compilers),
      endpoint as AnyEndpointOptions
    )
  } as FastifyInstance['asyncEndpoint'])
  app.decorate('jobLink', jobLinkFunction(httpRuntime))
  app.decorate('saga', function saga (this: FastifyInstance | undefined, options: unknown) {
    return defineSaga(this ?? app, httpRuntime, options as AnySagaOptions)
  } as FastifyInstance['saga'])
  if (httpRuntime !== undefined) {
    const { webSocket } = httpRuntime.listening
    if (webSocket !== false) await addSocketRoute(app, httpRuntime, settings(webSocket))
    addJobRoutes(app, httpRuntime)
    addRefusals(app, httpRuntime)
  }
  REGISTERED.publish({
    publicUrl: httpRuntime?.options.publicUrl,
    jobRoutes: () => httpRuntime === undefined ? 'none' : jobRoutesAccess(httpRuntime)
  })
}

function openHttp (
  app: FastifyInstance, options: HttpOptions, listening: ResolvedListeningOptions, webhooks: ResolvedWebhooksOptions | undefined
): HttpRuntime {
  const httpRuntime = createHttpRuntime({
    runtime: runtimeOf(app),
    jobs: app.getDecorator<JobsClient>('jobs'),
    backbone: backboneOf(app),
    options: readHttpOptions(options),
    listening,
    prefix: app.prefix,
    webhooks
  })
  // Before the server waits for its open requests: one that waits for a job would hold it up.
  app.addHook('preClose', async () => {
    httpRuntime.waiting.close()
    httpRuntime.channels.close()
  })
  // While new requests are still accepted elsewhere: the clients of streams and sockets come back to another process.
  httpRuntime.runtime.onDraining?.(() => { httpRuntime.channels.drain() })
  // Every endpoint is defined by then.
  app.addHook('onReady', async () => {
    if (jobRoutesAccess(httpRuntime) !== 'left-open') return
    reportLeftOpen(runtimeOf(app), 'access.jobs_left_open', app.prefix + httpRuntime.options.path)
  })
  return httpRuntime
}

function settings<T extends object> (option: true | T): T {
  return option === true ? {} as T : option
}

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS`, every bad key of every part in one message */
function readUmbrella (app: FastifyInstance, given: AsyncEndpointsOptions): AsyncEndpointsOptions {
  const problems = new OptionProblems()
  const parts: Record<string, (value: object) => unknown> = {
    worker: (value) => readOptions('worker', workerSchema, {}, value),
    http: (value) => readHttpOptions(value),
    health: (value) => readHealthOptions(value),
    observability: (value) => readObservabilityOptions(value),
    alerts: (value) => readAlertsOptions(value),
    listening: (value) => readListeningOptions(value),
    webhooks: (value) => readWebhooks(value)
  }
  problems.collect('', () => readOptions('asyncEndpoints', umbrellaSchema, {}, given))
  for (const [name, check] of Object.entries(parts)) {
    const value = (given as Record<string, unknown>)[name]
    if (value === undefined || typeof value === 'boolean') continue
    if (typeof value !== 'object' || value === null) problems.add(`${name} must be true, false or an object`)
    else problems.collect(`${name}.`, () => check(value))
  }
  problems.add(...withoutEffect(app, given))
  if (given.http === false && given.listening !== undefined) {
    problems.add('listening has no effect without http: there are no job routes; leave it out in processes with http: false')
  }
  problems.throwIfAny('asyncEndpoints')
  return given
}

/** Options of a part that was registered before: it has its own, and these would change nothing. */
function withoutEffect (app: FastifyInstance, given: AsyncEndpointsOptions): string[] {
  const late: string[] = []
  const options = given as Record<string, unknown>
  if (app.hasPlugin(PLUGIN.jobStore)) {
    const ofTheStore = Object.keys(jobStoreSchema.properties as object)
    late.push(...ofTheStore.filter((key) => options[key] !== undefined))
  }
  for (const name of PARTS) {
    if (typeof options[name] === 'object' && app.hasPlugin(PLUGIN[name])) late.push(name)
  }
  return late.map((key) => `${key} has no effect: that plugin is already registered; give it there`)
}

/** Slow endpoints as jobs: store, observability, worker, health and the routes in one registration. */
export const asyncEndpoints = fp(asyncEndpointsPlugin, { name: PLUGIN.umbrella, fastify: '5.x' })
export default asyncEndpoints

// The public face: the plugins, the stores, what a handler may say, errors, and the types to write all of it down.
export { alerts, health, jobStore, observability, worker }
export { memoryStore, type MemoryStoreOptions, type RetentionOptions } from '../lib/stores/memory/index.ts'
export {
  redisStore, type RedisClientLike, type RedisConnectionOptions, type RedisRetentionOptions, type RedisStoreOptions
} from '../lib/stores/bullmq/index.ts'
export { openApiTransform, type TransformInput, type TransformOutput } from '../lib/http/openapi-transform.ts'
export { cancel, discard, snooze, type Cancel, type Discard, type Outcome, type Snooze } from '../lib/jobs/outcome.ts'
export {
  AsyncEndpointsError, ERROR_TABLE, isAsyncEndpointsError, type AsyncEndpointsErrorOptions, type ErrorCode
} from '../lib/core/errors.ts'
export { defineMetrics } from '../lib/telemetry/metrics-override.ts'
export type {
  AsyncEndpointsMetrics, MetricMethod, MetricTimer, MetricTimers, RecordedMethods
} from '../lib/telemetry/metrics.ts'
export type { Clock, Logger, LogMethod, TimerHandle } from '../lib/core/context.ts'
export type {
  Cancelled, Jobs, ListOptions, Signalled, SubmitItem, SubmitManyOptions, SubmitManyResult, SubmitMeta, Submitted, WaitOptions
} from '../lib/client/jobs.ts'
export type { ChildSubmitted } from '../lib/jobs/submit.ts'
export type { AttemptFailure, EventMap, EventName, OperationContext, SubmitOrigin } from '../lib/events/catalogue.ts'
export type { EventListener } from '../lib/events/bus.ts'
export type { EventRoute, EventRoutes, SinkName } from '../lib/events/router.ts'
export type { JobHealth } from '../lib/health/job-health.ts'
export type {
  CheckReport, HealthCheck, HealthCheckOptions, HealthData, HealthReport, HealthStatus, HealthVerdict
} from '../lib/health/registry.ts'
export type { BuiltInCheck, BaseHealthOptions } from '../lib/health/options.ts'
export type { StatusDocument, StepDocument, SubmittedDocument } from '../lib/http/document.ts'
export type { AnyEndpointOptions } from '../lib/http/endpoint.ts'
export type { IdempotencyMode } from '../lib/http/idempotency.ts'
export type { Links } from '../lib/http/links.ts'
export type { AsyncEndpointsRouteConfig } from '../lib/http/http-runtime.ts'
export type { EndpointRouteOptions, BaseEndpointOptions, HttpOptions } from '../lib/http/options.ts'
export type { HttpAccess, OwnerFunction } from '../lib/http/owner.ts'
export type { ActsFor, AuthorizeContext, AuthorizeFunction, JobRight } from '../lib/http/authorize.ts'
export type { CapabilityLinkOptions, LinkKey, LinkScope } from '../lib/http/capability.ts'
export type { JobLinkFunction, JobLinkOptions } from '../lib/http/job-link.ts'
export type { JobListDocument, ListedJob } from '../lib/http/list-route.ts'
export type { Problem, ProblemError } from '../lib/http/problem.ts'
export type {
  ProblemContext, ResponseFactories, ResponseFactory, StatusContext, SubmittedContext
} from '../lib/http/responses.ts'
export type { ExposeErrors, ShownError } from '../lib/http/shown-error.ts'
export type { DefinedTypes, EndpointOptions, EndpointSchema, HandlerTypes, ResultBound } from '../lib/http/types.ts'
export type { SagaOptions } from '../lib/http/saga.ts'
export type { SagaPlanOptions } from '../lib/saga/compile.ts'
export type {
  HeldByJson, NewStepName, NoResults, PlainResults, SagaDecision, SagaEachOptions, SagaEnd, SagaGroup, SagaGroupOptions, SagaInput,
  SagaItemContext, SagaItemUndo, SagaMaySkip, SagaSignalOptions, SagaStepContext, SagaStepOptions, SagaSteps, SagaTryOptions,
  SagaUndoContext, SagaUndoOptions, SignalSchemaTypes, SignalValue
} from '../lib/saga/types.ts'
export type { BackoffContext, BackoffOptions, CustomBackoff } from '../lib/jobs/backoff.ts'
export type {
  BodyOf, HandlerMiddleware, JobContext, JobDefinition, JobDefinitionInput, JobHandler, JobName, JobOptions,
  JobReference, JobRequirement, JobRequirements, JobTracingOptions, JobTypes,
  Part, ResultOf, RetryOptions, StepContext, StepOptions, SubmitArguments, TypesOf
} from '../lib/jobs/definition.ts'
// `export *`, because only an interface that is passed on like this can be extended from outside.
export * from '../lib/jobs/job-names.ts'
export type { Submittable, Travelled } from '../lib/jobs/json-value.ts'
export type { JobSchemas } from '../lib/jobs/schemas.ts'
export type { SharedState } from '../lib/core/shared.ts'
export type {
  ClaimedJob, IdempotencyClaim, JobInput, JobOrigin, JobPlace, JobProgress, JobRecord, JobUpdate, JobWebhook, NewJob, StepsFacts, StoredError,
  TraceCarrier
} from '../lib/jobs/job.ts'
export type { SagaPhase, StepState } from '../lib/jobs/saga-facts.ts'
export type { SagaHistory } from '../lib/jobs/saga-plan.ts'
export type { Checkpoint, CheckpointVerdict, Journal, SagaCounts, SignalVerdict, StepText } from '../lib/jobs/steps.ts'
export type { JobState, TerminalState } from '../lib/jobs/states.ts'
export type {
  Attempt, CancelVerdict, Claim, ConsumeOptions, Consumer, Created, FeedListener, JobFeed, JobPage, JobStore, ListQuery, QueueCounts,
  RedriveVerdict, Settlement, SettleVerdict, StoreHost, StoreReport, Suspension,
  StepStore, UnattendedQueue
} from '../lib/jobs/store.ts'
export type { AlertsOptions } from './alerts.ts'
export type { HealthOptions, PressureOptions } from './health.ts'
export type { JobStoreOptions } from './job-store.ts'
export type { ListeningOptions, WebSocketOptions } from '../lib/channels/options.ts'
export type { WebhookData, WebhookMessage } from '../lib/channels/webhook-document.ts'
export type { WebhookAllows, WebhookSecrets, WebhooksOptions } from '../lib/channels/webhook-options.ts'
export type { OutboundPolicy } from '../lib/core/outbound-policy.ts'
export { webhookPublicKey } from '../lib/core/webhook-signature.ts'
export type { Listening, ListeningDocument } from '../lib/http/listening.ts'
export type { EndpointWebhook } from '../lib/http/webhook-choice.ts'
export type { OpenApiOptions } from '../lib/core/openapi.ts'
export type { RedactOptions } from '../lib/core/redact.ts'
export type { ExportOptions, FileTargetOptions, PushTargetOptions } from '../lib/exposition/options.ts'
export type {
  ExportPage, ExportRequest, CompletedExport, MetricsExporter, SyncInfo
} from '../lib/exposition/exporter.ts'
export type { ExportedPage } from '../lib/exposition/exporter-registry.ts'
export type { JobExporters, MetricsPageOptions, RegisterExporterOptions } from '../lib/exposition/job-exporters.ts'
export type { EventDescription, EventSubscriber, JobEvents } from '../lib/events/subscribers.ts'
export type { JobSpanOptions, Propagation, SpanAttributesOptions, SpanAttributeValues } from '../lib/jobs/definition.ts'
export type {
  Alert, AlertFinding, AlertMail, AlertNotice, AlertNoticeKind, AlertOutcome, AlertRule, AlertSender, AlertSeverity,
  AlertType, EmailOptions
} from '../lib/monitor/alerts/alert.ts'
export type { JobAlerts } from '../lib/monitor/alerts/job-alerts.ts'
export type {
  AlertFacts, ConsumerFacts, JobFacts, NotUndone, ProcessFacts, QueueFacts, SlowJob
} from '../lib/monitor/alerts/alert-facts.ts'
export type { AlertWebhookOptions } from '../lib/monitor/alerts/webhook.ts'
export type { Durations } from '../lib/monitor/distribution.ts'
export type { PerformanceMonitor } from '../lib/monitor/monitor.ts'
export type { SlowOperation } from '../lib/monitor/operations.ts'
export type { SlowQuery } from '../lib/monitor/queries.ts'
export type {
  BottleneckReport, Cause, Facts as BottleneckFacts, Finding, HandlerFacts, QueueFacts as BottleneckQueueFacts,
  Severity, Shown as ShownSample, StoreOperationFacts
} from '../lib/monitor/bottleneck-report.ts'
export type { PerformanceOptions } from '../lib/monitor/options.ts'
export type { InstrumentDefinition, InstrumentKind } from '../lib/telemetry/instruments.ts'
export type {
  JobMetricsRegistry, MetricCounter, MetricGauge, MetricHistogram, MetricInstrument, MetricSeries
} from '../lib/telemetry/job-metrics-registry.ts'
export type { LogLevel } from '../lib/telemetry/log-events.ts'
export type { TelemetryOptions } from '../lib/telemetry/options/index.ts'
export type { LogEnrichment, LoggingOptions } from '../lib/telemetry/options/logging.ts'
export type { MetricsOptions } from '../lib/telemetry/options/metrics.ts'
export type { TracingOptions } from '../lib/telemetry/options/tracing.ts'
export type { FinishedSpan, SpanWatcher } from '../lib/telemetry/sdk/span-watch.ts'
export type {
  Exemplar, ExemplarSource, FamilyBase, HistogramFamily, HistogramPoint, Labels, MetricFamily, MetricsSnapshot,
  NumberFamily, NumberPoint
} from '../lib/telemetry/snapshot.ts'
export type { ObservabilityOptions } from './observability.ts'
export type { AttemptUnderWay, JobWorker, WorkerLoad } from '../lib/worker/job-worker.ts'
export type { QueueWorkerOptions, WatchdogOptions, WorkerOptions } from './worker.ts'
