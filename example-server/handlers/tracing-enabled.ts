import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { context, propagation, SpanKind, SpanStatusCode, trace, type Attributes, type Span } from '@opentelemetry/api'
import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import { fetchEntities } from './entities.ts'

const TracingRequest = Type.Object({ category: Type.String({ minLength: 1, maxLength: 50 }), data: Type.Optional(Type.String({ maxLength: 1_000 })) }, { additionalProperties: false })
const TracingResult = Type.Object({ processedData: Type.Array(Type.String()), processedAt: Type.String(), executionTimeMs: Type.Number() })

/** The other service answered, but not with what was asked for. Another attempt may help. */
export class ExternalServiceError extends Error {
  override readonly name = 'ExternalServiceError'
  readonly code = 'EXTERNAL_SERVICE'
}

/**
 * A handler that opens its spans with OpenTelemetry's own interface, as code that knows nothing of `job` does. They are
 * children of the handler's span, and the call to the other service takes the trace along in its headers.
 *
 * @param apiUrl the address of the other service, asked for each job
 */
export function tracingEnabled (fastify: FastifyInstance, apiUrl: () => string): void {
  const tracer = trace.getTracer('AsyncEndpoints.Tracing')

  /** Runs the work in a span of its own, which ends with it and keeps its error. */
  const inSpan = async <R>(name: string, kind: SpanKind, attributes: Attributes, work: (span: Span) => Promise<R>): Promise<R> =>
    await tracer.startActiveSpan(name, { kind, attributes }, async (span) => {
      try {
        return await work(span)
      } catch (error) {
        const { code, message } = error as { code?: unknown, message?: unknown }
        span.setAttributes({ 'error.type': String(code ?? 'Error'), 'error.message': String(message) }).setStatus({ code: SpanStatusCode.ERROR })
        throw error
      } finally {
        span.end()
      }
    })

  const callExternal = async (items: readonly unknown[], signal: AbortSignal): Promise<string[]> => {
    const url = apiUrl()
    return await inSpan('ExternalApiCall', SpanKind.CLIENT, { 'http.request.method': 'POST', 'url.full': url }, async (span) => {
      const headers: Record<string, string> = { 'content-type': 'application/json' }
      propagation.inject(context.active(), headers)
      const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(items), signal })
      span.setAttribute('http.response.status_code', response.status)
      if (!response.ok) throw new ExternalServiceError(`the call failed with ${response.status}`)
      return await response.json() as string[]
    })
  }

  fastify.withTypeProvider<TypeBoxTypeProvider>().asyncEndpoint({
    method: 'POST',
    url: '/handlers/traced/:requestId',
    name: 'TracedProcess',
    headers: ['x-user-id'],
    schema: {
      summary: 'A database query and a call to another service, in one trace',
      tags: ['handlers'],
      params: Type.Object({ requestId: Type.String() }),
      body: TracingRequest,
      result: TracingResult
    },
    retry: { attempts: 1 },
    handler: async (job) => {
      const startedAt = performance.now()
      const about = { 'request.id': job.params.requestId, 'user.id': job.headers['x-user-id'], 'request.data_size': job.body.data?.length ?? 0 }
      return await inSpan('ProcessTracingRequest', SpanKind.INTERNAL, about, async (span) => {
        job.log.info({}, 'Processing tracing request with distributed tracing')
        const entities = await inSpan('DatabaseOperation', SpanKind.INTERNAL, {}, async (query) => {
          const found = await fetchEntities(job.body.category, job.signal)
          query.setAttribute('fetched_entities', found.length)
          return found
        })
        const processedData = await callExternal(entities.slice(0, 10), job.signal)
        const executionTimeMs = performance.now() - startedAt
        span.setAttributes({ 'result.processed_count': processedData.length, 'result.duration_ms': executionTimeMs })
        job.log.info({}, 'Tracing request completed successfully')
        return { processedData, processedAt: new Date().toISOString(), executionTimeMs }
      })
    }
  })
}
