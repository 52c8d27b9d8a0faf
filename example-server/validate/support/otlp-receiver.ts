/** A small OTLP/HTTP collector: keeps what is posted to it, and reads the JSON encoding. */
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface OtlpRequest { readonly url: string, readonly headers: IncomingHttpHeaders, readonly body: Buffer }

export interface OtlpAnyValue {
  readonly stringValue?: string
  readonly boolValue?: boolean
  readonly intValue?: number | string
  readonly doubleValue?: number
  readonly arrayValue?: { readonly values?: readonly OtlpAnyValue[] }
}
export interface OtlpKeyValue { readonly key: string, readonly value: OtlpAnyValue }

export type Attributes = Readonly<Record<string, unknown>>

/** A span with its resource and scope, attributes as plain values, times as nanoseconds. */
export interface ReceivedSpan {
  readonly name: string
  /** As in OpenTelemetry's protocol: 1 internal, 2 server, 3 client, 4 producer, 5 consumer. */
  readonly kind: number
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId: string | undefined
  readonly traceState: string | undefined
  readonly attributes: Attributes
  readonly events: ReadonlyArray<{ readonly name: string, readonly attributes: Attributes, readonly at: bigint }>
  readonly links: ReadonlyArray<{ readonly traceId: string, readonly spanId: string }>
  /** 0 unset, 1 ok, 2 error. */
  readonly status: { readonly code: number, readonly message: string | undefined }
  readonly startedAt: bigint
  readonly endedAt: bigint
  readonly resource: Attributes
  readonly scope: string
}

export interface OtlpReceiver {
  /** For `OTEL_EXPORTER_OTLP_ENDPOINT`. */
  readonly url: string
  /** Everything that was posted, in order. */
  readonly requests: readonly OtlpRequest[]
  /** Spans of all `POST /v1/traces` in JSON, in order of arrival. */
  spans (): ReceivedSpan[]
  /** Bodies of all `POST /v1/metrics` in JSON. */
  metrics (): unknown[]
  /** Resolves as soon as `ready` says so of what has arrived. @throws at the deadline, naming what it waited for */
  until (what: string, ready: (receiver: OtlpReceiver) => boolean, withinMs?: number): Promise<void>
  /** Forgets what has arrived. */
  clear (): void
  stop (): Promise<void>
}

const WAIT_MS = 20_000

/** @param answers false: takes requests and never answers, as a collector that hangs */
export async function startOtlpReceiver ({ answers = true }: { readonly answers?: boolean } = {}): Promise<OtlpReceiver> {
  const requests: OtlpRequest[] = []
  const waiting = new Set<() => void>()
  // Who waits asks for all spans again and again: each request is read once.
  const known = new WeakMap<OtlpRequest, readonly ReceivedSpan[]>()
  const read = (request: OtlpRequest): readonly ReceivedSpan[] => {
    const spans = known.get(request) ?? spansOf(JSON.parse(request.body.toString()))
    known.set(request, spans)
    return spans
  }
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      requests.push({ url: request.url ?? '', headers: request.headers, body: Buffer.concat(chunks) })
      if (answers) response.writeHead(200, { 'content-type': request.headers['content-type'] ?? 'application/json' }).end(json(request.headers) ? '{}' : '')
      for (const look of waiting) look()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const receiver: OtlpReceiver = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    spans: () => bodies(requests, '/v1/traces').flatMap(read),
    metrics: () => bodies(requests, '/v1/metrics').map(({ body }) => JSON.parse(body.toString()) as unknown),
    until: (what, ready, withinMs = WAIT_MS) => new Promise((resolve, reject) => {
      const end = (error?: Error): void => {
        clearTimeout(deadline)
        waiting.delete(look)
        if (error === undefined) resolve()
        else reject(error)
      }
      const look = (): void => { if (ready(receiver)) end() }
      const deadline = setTimeout(() => { end(new Error(`waited ${withinMs} ms for the collector to have ${what}; it has ${receiver.spans().map(({ name }) => name).join(', ')}`)) }, withinMs)
      waiting.add(look)
      look()
    }),
    clear: () => { requests.length = 0 },
    stop: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    }
  }
  return receiver
}

function json (headers: IncomingHttpHeaders): boolean { return headers['content-type']?.startsWith('application/json') === true }

function bodies (requests: readonly OtlpRequest[], path: string): OtlpRequest[] {
  return requests.filter(({ url, headers }) => url === path && json(headers))
}

interface OtlpSpan {
  readonly name: string
  readonly kind: number
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly traceState?: string
  readonly attributes?: readonly OtlpKeyValue[]
  readonly events?: ReadonlyArray<{ readonly name: string, readonly timeUnixNano: string, readonly attributes?: readonly OtlpKeyValue[] }>
  readonly links?: ReadonlyArray<{ readonly traceId: string, readonly spanId: string }>
  readonly status?: { readonly code?: number, readonly message?: string }
  readonly startTimeUnixNano: string
  readonly endTimeUnixNano: string
}

interface OtlpTraces {
  readonly resourceSpans?: ReadonlyArray<{
    readonly resource?: { readonly attributes?: readonly OtlpKeyValue[] }
    readonly scopeSpans?: ReadonlyArray<{ readonly scope?: { readonly name?: string }, readonly spans?: readonly OtlpSpan[] }>
  }>
}

function spansOf (body: unknown): ReceivedSpan[] {
  return ((body as OtlpTraces).resourceSpans ?? []).flatMap(({ resource, scopeSpans = [] }) => scopeSpans.flatMap(({ scope, spans = [] }) => spans.map((span): ReceivedSpan => ({
    name: span.name,
    kind: span.kind,
    traceId: span.traceId,
    spanId: span.spanId,
    parentSpanId: span.parentSpanId === '' ? undefined : span.parentSpanId,
    traceState: span.traceState,
    attributes: plain(span.attributes),
    events: (span.events ?? []).map(({ name, timeUnixNano, attributes }) => ({ name, at: BigInt(timeUnixNano), attributes: plain(attributes) })),
    links: (span.links ?? []).map(({ traceId, spanId }) => ({ traceId, spanId })),
    status: { code: span.status?.code ?? 0, message: span.status?.message },
    startedAt: BigInt(span.startTimeUnixNano),
    endedAt: BigInt(span.endTimeUnixNano),
    resource: plain(resource?.attributes),
    scope: scope?.name ?? ''
  }))))
}

/** OTLP's key-value pairs as an object. */
export function plain (pairs: readonly OtlpKeyValue[] = []): Record<string, unknown> {
  return Object.fromEntries(pairs.map(({ key, value }) => [key, plainValue(value)]))
}

function plainValue (value: OtlpAnyValue): unknown {
  if (value.intValue !== undefined) return Number(value.intValue)
  if (value.arrayValue !== undefined) return (value.arrayValue.values ?? []).map(plainValue)
  return value.stringValue ?? value.boolValue ?? value.doubleValue
}
