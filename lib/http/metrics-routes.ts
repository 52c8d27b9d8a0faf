import type { FastifyInstance, FastifyRequest, RouteOptions } from 'fastify'
import { AsyncEndpointsError } from '../core/errors.ts'
import { openApiMembers, type OpenApiOptions } from '../core/openapi.ts'
import { pathBelow } from '../core/options.ts'
import { ownCompilers } from './own-compilers.ts'
import { plainProblems } from './plain-problems.ts'
import { jsonResponse, problemResponse } from './schemas.ts'
import { PROBE_CONFIG } from './probe-config.ts'

export interface MetricsPage {
  readonly contentType: string
  readonly body: string | Buffer
  /** Called when the response has been sent: `body` is no longer read, and its memory can be reused. */
  readonly release?: (() => void) | undefined
}

/** What the routes show, and who may see it. */
export interface MetricsRoutesParts {
  /** The path of the page for scrapers. The other routes are below it. */
  readonly path: string
  /** @defaultValue everybody may read, and nothing is shown about single jobs */
  readonly authorize?: ((request: FastifyRequest) => boolean | Promise<boolean>) | undefined
  readonly openapi?: OpenApiOptions | undefined
  /**
   * @param accept the header as it came
   * @param format the query parameter as it came; it decides over `accept`
   * @throws {AsyncEndpointsError} `FAE_UNKNOWN_FORMAT`
   */
  page (accept: string | undefined, format: string | undefined): Promise<MetricsPage>
  /** `GET {path}/jobs`: a summary for people and dashboards. */
  readonly jobs: JobsRoute
  /** Called with unexpected errors, such as an `authorize` that throws: these routes write no log lines themselves. */
  failed (error: unknown): void
  /** `GET {path}/bottlenecks`: what limits the throughput now. */
  readonly bottlenecks?: BottlenecksRoute | undefined
}

export interface JobsRoute {
  /** The JSON Schema of what `show` returns. */
  readonly schema: unknown
  /** @param detailed `true`: the reader is authorized, so job ids may be shown */
  show (detailed: boolean): unknown
}

export interface BottlenecksRoute {
  /** The JSON Schema of what `report` returns. */
  readonly schema: unknown
  /** The largest number of samples that a client may ask for. */
  readonly maxSamples: number
  /**
   * @param samples how many slow operations and queries to show; `undefined`: as many as a person reads
   * @param detailed `true`: the reader is authorized, so contexts of operations and texts of queries may be shown
   */
  report (samples: number | undefined, detailed: boolean): unknown
}

/** Adds `GET` and `HEAD` routes for the metrics. They answer errors with problem documents and are never cached. */
export function addMetricsRoutes (app: FastifyInstance, parts: MetricsRoutesParts): void {
  const { path, authorize, openapi, bottlenecks } = parts
  // Without an owner function the id of a job is enough to read it. So ids are shown only where `authorize` has
  // checked the request.
  const detailed = authorize !== undefined
  const route = (url: string, handler: NonNullable<RouteOptions['handler']>, schema: NonNullable<RouteOptions['schema']> = { hide: true }): void => {
    app.route({
      method: 'GET',
      url,
      exposeHeadRoute: true,
      logLevel: 'silent',
      config: PROBE_CONFIG,
      schema,
      ...ownCompilers,
      ...plainProblems(parts.failed),
      handler: async function (request, reply) {
        if (authorize !== undefined && await authorize(request) !== true) {
          throw new AsyncEndpointsError('FAE_FORBIDDEN', 'You may not read these metrics: the function metrics.authorize of this server refused the request')
        }
        reply.header('cache-control', 'no-store')
        return await handler.call(this, request, reply)
      }
    })
  }
  route(path, async (request, reply) => {
    const { contentType, body, release } = await parts.page(request.headers.accept, formatOf(request.query))
    // Not earlier: the body is read from this memory until the scraper has received all of it.
    if (release !== undefined) reply.raw.once('close', release)
    return reply.header('content-type', contentType).header('vary', 'accept').send(body)
  })
  const forbidden = authorize === undefined ? {} : { 403: problemResponse('The client may not read these metrics') }
  route(pathBelow(path, 'jobs'), async (_request, reply) => reply.type('application/json; charset=utf-8').send(parts.jobs.show(detailed)), {
    summary: 'The jobs of this process in numbers',
    operationId: 'getJobMetrics',
    ...openApiMembers(openapi, ['metrics']),
    response: { 200: jsonResponse('How many jobs there are and how they did', parts.jobs.schema), ...forbidden }
  })
  if (bottlenecks === undefined) return
  route(pathBelow(path, 'bottlenecks'), async (request, reply) => {
    return reply.type('application/json; charset=utf-8').send(bottlenecks.report(samplesOf(request.query, bottlenecks.maxSamples), detailed))
  }, {
    summary: 'What limits the throughput now',
    operationId: 'getBottlenecks',
    ...openApiMembers(openapi, ['metrics']),
    querystring: { type: 'object', properties: { samples: { type: 'integer', minimum: 0, maximum: bottlenecks.maxSamples, description: 'How many slow operations and queries to show' } } },
    response: {
      200: jsonResponse('The verdict, the findings that it is based on, and the numbers', bottlenecks.schema),
      400: problemResponse('`samples` is not a whole number in the allowed range'),
      ...forbidden
    }
  })
}

/** @throws {AsyncEndpointsError} `FAE_INVALID_REQUEST` */
function samplesOf (query: unknown, max: number): number | undefined {
  const samples: unknown = typeof query === 'object' && query !== null ? Reflect.get(query, 'samples') : undefined
  if (samples === undefined) return undefined
  const number = Number(samples)
  if (samples === '' || !Number.isInteger(number) || number < 0 || number > max) throw new AsyncEndpointsError('FAE_INVALID_REQUEST', `samples must be a whole number from 0 to ${max}`)
  return number
}

/** A parameter that is given twice is ignored. */
function formatOf (query: unknown): string | undefined {
  const format: unknown = typeof query === 'object' && query !== null ? Reflect.get(query, 'format') : undefined
  return typeof format === 'string' ? format : undefined
}
