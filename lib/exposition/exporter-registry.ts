import type { Context } from '../core/context.ts'
import { orReject } from '../core/deadline.ts'
import { assertKnown } from '../core/known-options.ts'
import { AsyncEndpointsError, isAsyncEndpointsError } from '../core/errors.ts'
import { invalidOptions } from '../core/options.ts'
import type { EventBus } from '../events/bus.ts'
import type { Labels, MetricsSnapshot } from '../telemetry/snapshot.ts'
import type { ExportRequest, MetricsExporter, SyncInfo } from './exporter.ts'
import { takeRejection } from '../core/rejections.ts'
import { cut } from '../core/text.ts'

/** Where the numbers of a page come from. */
export interface MetricsSource {
  readonly resource: Labels
  /** Of this process. `live`: the series themselves instead of a copy. */
  snapshot (live: boolean): MetricsSnapshot
}

/** A page of some format. */
export interface ExportedPage {
  readonly contentType: string
  readonly body: Buffer
  readonly format: string
}

export interface ExportOptions {
  /** A registered one. @defaultValue 'prometheus' */
  readonly format?: string | undefined
  /**
   * Over all processes on the store: `true` with a label `instance` on every series, `false` summed up. On a store that several
   * processes share it needs a target in `observability.export`: without one they do not show their metrics to each other, and the
   * call is refused. @defaultValue this process alone
   */
  readonly includeInstances?: boolean | undefined
}

/** A page on its way, for whoever delivers it. */
export interface RenderedPage extends ExportedPage {
  readonly exporter: MetricsExporter
  readonly request: ExportRequest
}

export interface ExporterRegistryParts {
  readonly context: Context
  readonly bus: EventBus
  readonly source: MetricsSource
  /** Can be replaced, but never taken away. */
  readonly builtIn: readonly MetricsExporter[]
}

/** The metrics of the processes on the store, or of those of one host. */
export type FleetView = (includeInstances: boolean, host?: string) => Promise<MetricsSnapshot>

/** An exporter that has not come to an end after this is given up. */
const EXPORT_TIMEOUT_MS = 10_000
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$/
const FORMAT = /^[a-z0-9][a-z0-9_.+-]{0,49}$/
const MAX_MESSAGE = 200
const REGISTER_KEYS = { replace: true } as const
const EXPORT_KEYS: Readonly<Record<keyof ExportOptions, true>> = { format: true, includeInstances: true }

/**
 * The exporters of one Fastify instance, by name and by format; what `app.jobExporters` is. `prometheus`, `openmetrics`,
 * `json` and `csv` are always there.
 */
export class ExporterRegistry {
  readonly #parts: ExporterRegistryParts
  readonly #names = new Map<string, MetricsExporter>()
  readonly #formats = new Map<string, MetricsExporter>()
  #fleet: FleetView | undefined

  constructor (parts: ExporterRegistryParts) {
    this.#parts = parts
  }

  /**
   * Adds an exporter. With `replace` it takes the place of the one with its name, and takes over formats that others have;
   * those that have none left are taken away.
   *
   * @throws {AsyncEndpointsError} `FAE_DUPLICATE_EXPORTER` when its name or one of its formats is taken, without `replace`;
   * `FAE_INVALID_OPTIONS` for something that is no exporter
   */
  register (exporter: MetricsExporter, options: { readonly replace?: boolean | undefined } = {}): void {
    assertKnown(() => 'jobExporters.register', REGISTER_KEYS, options)
    check(exporter)
    const { replace = false } = options
    const { name, formats } = exporter
    if (!replace) {
      const taken = this.names().includes(name) ? `The name ${name}` : formats.filter((format) => this.findByFormat(format) !== undefined).map((format) => `The format ${format}`)[0]
      if (taken !== undefined) throw new AsyncEndpointsError('FAE_DUPLICATE_EXPORTER', `${taken} is taken by another exporter of metrics; register it with { replace: true } if it shall take that one's place`)
    }
    this.unregister(name)
    this.#names.set(name, exporter)
    for (const format of formats) this.#formats.set(format, exporter)
    this.#parts.bus.emit('telemetry.plugin_registered', { exporter: name })
    const kept = new Set(this.#formats.values())
    for (const other of [...this.#names.values()]) if (!kept.has(other)) this.unregister(other.name)
  }

  /** Takes an exporter away; a built-in one that it had replaced is back. @returns whether there was one */
  unregister (name: string): boolean {
    const known = this.#names.get(name)
    if (known === undefined) return false
    this.#names.delete(name)
    for (const [format, exporter] of [...this.#formats]) if (exporter === known) this.#formats.delete(format)
    this.#parts.bus.emit('telemetry.plugin_unregistered', { exporter: name })
    return true
  }

  findByFormat (format: string): MetricsExporter | undefined {
    return this.#formats.get(format) ?? this.#parts.builtIn.find((exporter) => exporter.formats.includes(format))
  }

  /** Every format that can be asked for. */
  formats (): string[] {
    return [...new Set([...this.#parts.builtIn.flatMap((exporter) => exporter.formats), ...this.#formats.keys()])]
  }

  /** Of every exporter. */
  names (): string[] {
    return [...new Set([...this.#parts.builtIn.map(({ name }) => name), ...this.#names.keys()])]
  }

  /**
   * The metrics as a page.
   *
   * @throws {AsyncEndpointsError} `FAE_UNKNOWN_FORMAT` (the message names the known ones), `FAE_EXPORT_FAILED` when the exporter
   * threw or took more than 10 seconds, `FAE_STORE_UNAVAILABLE` when the other processes cannot be asked for; `FAE_INVALID_OPTIONS` for
   * `includeInstances` where the other processes are not known
   */
  async export (options: ExportOptions = {}): Promise<ExportedPage> {
    assertKnown(() => 'jobExporters.export', EXPORT_KEYS, options)
    const { format = 'prometheus', includeInstances } = options
    return await this.page(format, 'code', includeInstances)
  }

  /** @internal {@link export} for a place that is told in events */
  async page (format: string, target: string, includeInstances?: boolean): Promise<ExportedPage> {
    const startedAt = this.#parts.context.clock.monotonic()
    const page = await this.render(format, target, includeInstances)
    this.delivered(page, this.#parts.context.clock.monotonic() - startedAt)
    return { contentType: page.contentType, body: page.body, format: page.format }
  }

  /** @internal The page, for who delivers it and then tells how that went: {@link delivered} or {@link failed}. */
  async render (format: string, target: string, includeInstances?: boolean, host?: string): Promise<RenderedPage> {
    const exporter = this.findByFormat(format)
    if (exporter === undefined) throw this.unknownFormat(format)
    const { clock } = this.#parts.context
    const { source } = this.#parts
    const whole = includeInstances === undefined ? undefined : this.#fleet
    if (includeInstances !== undefined && whole === undefined) throw invalidOptions('jobExporters.export', ['includeInstances needs a target in observability.export: without one, the processes on a store do not show their metrics to each other'])
    const request: ExportRequest = { format, target, resource: whole === undefined ? source.resource : withoutInstance(source.resource, host !== undefined) }
    const startedAt = clock.monotonic()
    this.#parts.bus.emit('telemetry.export_requested', { exporter: exporter.name, format, target })
    this.#hook(exporter, () => exporter.onRequested?.(request))
    try {
      const snapshot = whole === undefined ? source.snapshot(exporter.live === true) : await whole(includeInstances === true, host)
      const page = await orReject(clock, EXPORT_TIMEOUT_MS, (async () => await exporter.export(snapshot, request))(), () => new Error(`it took more than ${EXPORT_TIMEOUT_MS} ms`))
      return { contentType: contentTypeOf(exporter, format), body: bytes(page), format, exporter, request }
    } catch (error) {
      this.failed(exporter, request, error, clock.monotonic() - startedAt)
      if (isAsyncEndpointsError(error, 'FAE_STORE_UNAVAILABLE')) throw error
      throw new AsyncEndpointsError('FAE_EXPORT_FAILED', `The exporter ${exporter.name} could not write the metrics as ${format}`, { cause: error })
    }
  }

  /** @internal A rendered page has reached its place. */
  delivered ({ exporter, request, body }: RenderedPage, durationMs: number): void {
    const { format, target } = request
    this.#parts.bus.emit('telemetry.export_completed', { exporter: exporter.name, format, target, durationMs, bytes: body.length })
    this.#hook(exporter, () => exporter.onCompleted?.({ ...request, bytes: body.length, durationMs }))
  }

  /** @internal A page could not be made, or not be delivered. */
  failed (exporter: MetricsExporter, { format, target }: ExportRequest, error: unknown, durationMs: number): void {
    this.#parts.bus.emit('telemetry.export_failed', { exporter: exporter.name, format, target, errorCode: codeOf(error), message: messageOf(error), durationMs })
  }

  /** @internal */
  snapshot (live: boolean): MetricsSnapshot { return this.#parts.source.snapshot(live) }

  /** @internal Told to every exporter. */
  synced (info: SyncInfo): void {
    for (const exporter of new Set([...this.#parts.builtIn, ...this.#names.values()])) this.#hook(exporter, () => exporter.onSync?.(info))
  }

  /** @internal Who knows the other processes. */
  useFleet (fleet: FleetView): void { this.#fleet = fleet }

  /** @internal */
  unknownFormat (format: string): AsyncEndpointsError {
    const known = this.formats()
    return new AsyncEndpointsError('FAE_UNKNOWN_FORMAT', `No exporter writes the format "${cut(format, 50)}"; known are ${known.join(', ')}`, { details: { formats: known } })
  }

  /** A hook is a courtesy: whatever it throws is told, and nothing else happens. */
  #hook (exporter: MetricsExporter, call: () => unknown): void {
    const failed = (error: unknown): void => { this.#parts.bus.emit('telemetry.listener_failed', { source: 'exporter', message: cut(`${exporter.name}: ${messageOf(error)}`, MAX_MESSAGE) }) }
    try {
      takeRejection(call(), failed)
    } catch (error) {
      failed(error)
    }
  }
}

/** The page is about many: which of them has written it, and where, is no attribute of all. */
function withoutInstance (resource: Labels, ofOneHost: boolean): Labels {
  return Object.fromEntries(Object.entries(resource).filter(([name]) => name !== 'service.instance.id' && (ofOneHost || name !== 'host.name')))
}

function bytes (page: unknown): Buffer {
  if (typeof page === 'string') return Buffer.from(page)
  if (page instanceof Uint8Array) return Buffer.isBuffer(page) ? page : Buffer.from(page.buffer, page.byteOffset, page.byteLength)
  throw new Error('export must give a string or bytes')
}

function contentTypeOf ({ contentType }: MetricsExporter, format: string): string {
  return typeof contentType === 'string' ? contentType : contentType[format] ?? 'application/octet-stream'
}

/** Few and harmless: a code of ours, or of the system (`ECONNREFUSED`, `ENOSPC`). */
export function codeOf (error: unknown): string {
  const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined
  return typeof code === 'string' && /^[A-Z][A-Z0-9_]{1,60}$/.test(code) ? code : 'FAE_EXPORT_FAILED'
}

function messageOf (error: unknown): string {
  return cut(error instanceof Error ? error.message : 'not an Error', MAX_MESSAGE)
}

function check (exporter: MetricsExporter): void {
  if (typeof exporter !== 'object' || exporter === null) throw invalidOptions('jobExporters.register', ['an exporter must be an object'])
  const { name, formats, contentType, live } = exporter
  const problems: string[] = []
  if (typeof name !== 'string' || !NAME.test(name)) problems.push('name must be 1 to 100 letters, digits, "_", "." or "-"')
  if (!Array.isArray(formats) || formats.length === 0 || formats.some((format) => typeof format !== 'string' || !FORMAT.test(format))) problems.push('formats must be one or more names of lower-case letters, digits, "_", ".", "-" or "+"')
  else if (typeof contentType === 'object' && contentType !== null) problems.push(...formats.filter((format) => !isMediaType(contentType[format])).map((format) => `contentType.${format} must be a media type`))
  else if (!isMediaType(contentType)) problems.push('contentType must be a media type')
  if (live !== undefined && typeof live !== 'boolean') problems.push('live must be true or false')
  if (typeof exporter.export !== 'function') problems.push('export must be a function')
  for (const hook of ['onSync', 'onRequested', 'onCompleted'] as const) {
    if (exporter[hook] !== undefined && typeof exporter[hook] !== 'function') problems.push(`${hook} must be a function`)
  }
  if (problems.length > 0) throw invalidOptions(`exporter of metrics "${String(name)}"`, problems)
}

/** It becomes a header: nothing in it may end the line. */
function isMediaType (value: unknown): boolean {
  return typeof value === 'string' && /^[\w.+-]+\/[\w.+-]+[ -~]*$/.test(value)
}
