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
  /** Called when the answer is over: nobody reads `body` any more, and its memory may be used again. */
  readonly release?: (() => void) | undefined
}

/** What the routes show; who makes it is none of their business. */
export interface MetricsRoutesParts {
  /** Of the page itself; the others lie under it. */
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
  /** Told of what nobody expected (an `authorize` that throws): these routes have no log lines of their own. */
  failed (error: unknown): void
  /** `GET {path}/bottlenecks`: what limits the throughput now. */
  readonly bottlenecks?: BottlenecksRoute | undefined
}

export interface JobsRoute {
  /** Of what `show` returns. */
  readonly schema: unknown
  /** @param detailed the reader is authorized: ids of jobs may be in it */
  show (detailed: boolean): unknown
}

export interface BottlenecksRoute {
  /** Of what `report` returns. */
  readonly schema: unknown
  /** The most samples that may be asked for. */
  readonly maxSamples: number
  /**
   * @param samples how many slow operations and queries to show; `undefined`: as many as a person reads
   * @param detailed the reader is authorized: contexts of operations and texts of queries may be in it
   */
  report (samples: number | undefined, detailed: boolean): unknown
}

/** `GET` and `HEAD` of the metrics and what lies under them; each answers errors as problems and is never cached. */
export function addMetricsRoutes (app: FastifyInstance, parts: MetricsRoutesParts): void {
  const { path, authorize, openapi, bottlenecks } = parts
  // Without an owner function the id of a job is enough to read it. So ids are shown only where `authorize` has checked the request.
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
          throw new AsyncEndpointsError('FAE_FORBIDDEN', 'These metrics are not for everybody; see metrics.authorize')
        }
        reply.header('cache-control', 'no-store')
        return await handler.call(this, request, reply)
      }
    })
  }
  route(path, async (request, reply) => {
    const { contentType, body, release } = await parts.page(request.headers.accept, formatOf(request.query))
    // Not before: the connection reads the body for as long as the scraper takes.
    if (release !== undefined) reply.raw.once('close', release)
    return reply.header('content-type', contentType).header('vary', 'accept').send(body)
  })
  const forbidden = authorize === undefined ? {} : { 403: problemResponse('These metrics are not for everybody') }
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
      200: jsonResponse('The verdict, what it was found by, and the numbers', bottlenecks.schema),
      400: problemResponse('`samples` is no number of samples'),
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

/** A parameter that comes twice is none. */
function formatOf (query: unknown): string | undefined {
  const format: unknown = typeof query === 'object' && query !== null ? Reflect.get(query, 'format') : undefined
  return typeof format === 'string' ? format : undefined
}
