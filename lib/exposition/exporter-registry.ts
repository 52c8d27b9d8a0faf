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
  /** The format of a registered exporter. @defaultValue 'prometheus' */
  readonly format?: string | undefined
  /**
   * Over all processes on the store: `true` with a label `instance` on every series, `false` summed up. On a store that several
   * processes share it needs a target in `observability.export`: without one they do not show their metrics to each other, and the
   * call is refused. @defaultValue this process alone
   */
  readonly includeInstances?: boolean | undefined
}

/** A page that was written and is to be delivered: its caller reports how that went. */
export interface RenderedPage extends ExportedPage {
  readonly exporter: MetricsExporter
  readonly request: ExportRequest
}

export interface ExporterRegistryParts {
  readonly context: Context
  readonly bus: EventBus
  readonly source: MetricsSource
  /** They can be replaced, but not removed. */
  readonly builtIn: readonly MetricsExporter[]
}

/** The metrics of the processes on the store, or of those of one host. */
export type FleetView = (includeInstances: boolean, host?: string) => Promise<MetricsSnapshot>

/** An exporter that takes longer is no longer waited for. */
const EXPORT_TIMEOUT_MS = 10_000
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$/
const FORMAT = /^[a-z0-9][a-z0-9_.+-]{0,49}$/
const MAX_MESSAGE = 200
const REGISTER_KEYS = { replace: true } as const
const EXPORT_KEYS: Readonly<Record<keyof ExportOptions, true>> = { format: true, includeInstances: true }

/**
 * `app.jobExporters`: the exporters of one Fastify instance, by name and by format. `prometheus`, `openmetrics`, `json` and `csv`
 * are always there.
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
   * Adds an exporter. With `replace` it replaces the one with its name, and takes over formats of others; an exporter that loses
   * all its formats is removed.
   *
   * @throws {AsyncEndpointsError} `FAE_DUPLICATE_EXPORTER` when its name or one of its formats is taken, without `replace`;
   * `FAE_INVALID_OPTIONS` for an exporter that is not valid
   */
  register (exporter: MetricsExporter, options: { readonly replace?: boolean | undefined } = {}): void {
    assertKnown(() => 'jobExporters.register', REGISTER_KEYS, options)
    check(exporter)
    const { replace = false } = options
    const { name, formats } = exporter
    if (!replace) {
      const format = formats.find((each) => this.findByFormat(each) !== undefined)
      const taken = this.names().includes(name) ? `The name ${name}` : format === undefined ? undefined : `The format ${format}`
      if (taken !== undefined) {
        const message = `${taken} is taken by another exporter of metrics; to replace that one, register this one with { replace: true }`
        throw new AsyncEndpointsError('FAE_DUPLICATE_EXPORTER', message)
      }
    }
    this.unregister(name)
    this.#names.set(name, exporter)
    for (const format of formats) this.#formats.set(format, exporter)
    this.#parts.bus.emit('telemetry.plugin_registered', { exporter: name })
    const kept = new Set(this.#formats.values())
    for (const other of [...this.#names.values()]) if (!kept.has(other)) this.unregister(other.name)
  }

  /** Removes an exporter; a built-in one that it had replaced is there again. @returns whether there was one */
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

  /** The names of all exporters. */
  names (): string[] {
    return [...new Set([...this.#parts.builtIn.map(({ name }) => name), ...this.#names.keys()])]
  }

  /**
   * Writes the metrics as a page.
   *
   * @throws {AsyncEndpointsError} `FAE_UNKNOWN_FORMAT` (the message names the known ones), `FAE_EXPORT_FAILED` when the exporter
   * threw or took more than 10 seconds, `FAE_STORE_UNAVAILABLE` when the metrics of the other processes cannot be read;
   * `FAE_INVALID_OPTIONS` for `includeInstances` where the processes do not share their metrics
   */
  async export (options: ExportOptions = {}): Promise<ExportedPage> {
    assertKnown(() => 'jobExporters.export', EXPORT_KEYS, options)
    const { format = 'prometheus', includeInstances } = options
    return await this.page(format, 'code', includeInstances)
  }

  /** @internal {@link export}, with the target that the events name */
  async page (format: string, target: string, includeInstances?: boolean): Promise<ExportedPage> {
    const startedAt = this.#parts.context.clock.monotonic()
    const page = await this.render(format, target, includeInstances)
    this.delivered(page, this.#parts.context.clock.monotonic() - startedAt)
    return { contentType: page.contentType, body: page.body, format: page.format }
  }

  /** @internal Writes a page. The caller delivers it, and then calls {@link delivered} or {@link failed}. */
  async render (format: string, target: string, includeInstances?: boolean, host?: string): Promise<RenderedPage> {
    const exporter = this.findByFormat(format)
    if (exporter === undefined) throw this.unknownFormat(format)
    const { clock } = this.#parts.context
    const { source } = this.#parts
    const whole = includeInstances === undefined ? undefined : this.#fleet
    if (includeInstances !== undefined && whole === undefined) {
      const problem = 'includeInstances needs a target in observability.export: without one, the processes on a store do not share their metrics'
      throw invalidOptions('jobExporters.export', [problem])
    }
    const resource = whole === undefined ? source.resource : withoutInstance(source.resource, host !== undefined)
    const request: ExportRequest = { format, target, resource }
    const startedAt = clock.monotonic()
    this.#parts.bus.emit('telemetry.export_requested', { exporter: exporter.name, format, target })
    this.#hook(exporter, () => exporter.onRequested?.(request))
    try {
      const snapshot = whole === undefined ? source.snapshot(exporter.live === true) : await whole(includeInstances === true, host)
      const writing = (async () => await exporter.export(snapshot, request))()
      const page = await orReject(clock, EXPORT_TIMEOUT_MS, writing, () => new Error(`it took more than ${EXPORT_TIMEOUT_MS} ms`))
      return { contentType: contentTypeOf(exporter, format), body: bytes(page), format, exporter, request }
    } catch (error) {
      this.failed(exporter, request, error, clock.monotonic() - startedAt)
      if (isAsyncEndpointsError(error, 'FAE_STORE_UNAVAILABLE')) throw error
      throw new AsyncEndpointsError('FAE_EXPORT_FAILED', `The exporter ${exporter.name} could not write the metrics as ${format}`, { cause: error })
    }
  }

  /** @internal Emits that a rendered page was delivered. */
  delivered ({ exporter, request, body }: RenderedPage, durationMs: number): void {
    const { format, target } = request
    this.#parts.bus.emit('telemetry.export_completed', { exporter: exporter.name, format, target, durationMs, bytes: body.length })
    this.#hook(exporter, () => exporter.onCompleted?.({ ...request, bytes: body.length, durationMs }))
  }

  /** @internal Emits that a page could not be written or delivered. */
  failed (exporter: MetricsExporter, { format, target }: ExportRequest, error: unknown, durationMs: number): void {
    const [errorCode, message] = [codeOf(error), messageOf(error)]
    this.#parts.bus.emit('telemetry.export_failed', { exporter: exporter.name, format, target, errorCode, message, durationMs })
  }

  /** @internal */
  snapshot (live: boolean): MetricsSnapshot { return this.#parts.source.snapshot(live) }

  /** @internal Calls `onSync` of every exporter. */
  synced (info: SyncInfo): void {
    for (const exporter of new Set([...this.#parts.builtIn, ...this.#names.values()])) {
      this.#hook(exporter, () => exporter.onSync?.(info))
    }
  }

  /** @internal From now on, pages of all processes come from here. */
  useFleet (fleet: FleetView): void { this.#fleet = fleet }

  /** @internal */
  unknownFormat (format: string): AsyncEndpointsError {
    const known = this.formats()
    const message = `No exporter writes the format "${cut(format, 50)}"; known are ${known.join(', ')}`
    return new AsyncEndpointsError('FAE_UNKNOWN_FORMAT', message, { details: { formats: known } })
  }

  /** Calls a hook of an exporter. What it throws is emitted, and does not fail the page. */
  #hook (exporter: MetricsExporter, call: () => unknown): void {
    const failed = (error: unknown): void => {
      const message = cut(`${exporter.name}: ${messageOf(error)}`, MAX_MESSAGE)
      this.#parts.bus.emit('telemetry.listener_failed', { source: 'exporter', message })
    }
    try {
      takeRejection(call(), failed)
    } catch (error) {
      failed(error)
    }
  }
}

/** For a page of several processes: leaves out the attributes that are those of one process or one host. */
function withoutInstance (resource: Labels, ofOneHost: boolean): Labels {
  const kept = (name: string): boolean => name !== 'service.instance.id' && (ofOneHost || name !== 'host.name')
  return Object.fromEntries(Object.entries(resource).filter(([name]) => kept(name)))
}

function bytes (page: unknown): Buffer {
  if (typeof page === 'string') return Buffer.from(page)
  if (page instanceof Uint8Array) return Buffer.isBuffer(page) ? page : Buffer.from(page.buffer, page.byteOffset, page.byteLength)
  throw new Error('export must give a string or bytes')
}

function contentTypeOf ({ contentType }: MetricsExporter, format: string): string {
  return typeof contentType === 'string' ? contentType : contentType[format] ?? 'application/octet-stream'
}

/** A code of this library or of the system (`ECONNREFUSED`, `ENOSPC`): few values, none of which holds user data. */
export function codeOf (error: unknown): string {
  const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined
  return typeof code === 'string' && /^[A-Z][A-Z0-9_]{1,60}$/.test(code) ? code : 'FAE_EXPORT_FAILED'
}

function messageOf (error: unknown): string {
  return cut(error instanceof Error ? error.message : 'not an Error', MAX_MESSAGE)
}

function check (exporter: MetricsExporter): void {
  if (typeof exporter !== 'object' || exporter === null) {
    throw invalidOptions('jobExporters.register', ['an exporter must be an object'])
  }
  const { name, formats, contentType, live } = exporter
  const problems: string[] = []
  if (typeof name !== 'string' || !NAME.test(name)) problems.push('name must be 1 to 100 letters, digits, "_", "." or "-"')
  if (!Array.isArray(formats) || formats.length === 0 || !formats.every(isFormat)) {
    problems.push('formats must be one or more names of lower-case letters, digits, "_", ".", "-" or "+"')
  } else if (typeof contentType === 'object' && contentType !== null) {
    const untyped = formats.filter((format) => !isMediaType(contentType[format]))
    problems.push(...untyped.map((format) => `contentType.${format} must be a media type`))
  } else if (!isMediaType(contentType)) problems.push('contentType must be a media type')
  if (live !== undefined && typeof live !== 'boolean') problems.push('live must be true or false')
  if (typeof exporter.export !== 'function') problems.push('export must be a function')
  for (const hook of ['onSync', 'onRequested', 'onCompleted'] as const) {
    if (exporter[hook] !== undefined && typeof exporter[hook] !== 'function') problems.push(`${hook} must be a function`)
  }
  if (problems.length > 0) throw invalidOptions(`exporter of metrics "${String(name)}"`, problems)
}

function isFormat (value: unknown): boolean { return typeof value === 'string' && FORMAT.test(value) }

/** It becomes the header `content-type`. A line end in it would let an exporter write further headers. */
function isMediaType (value: unknown): boolean {
  return typeof value === 'string' && /^[\w.+-]+\/[\w.+-]+[ -~]*$/.test(value)
}
