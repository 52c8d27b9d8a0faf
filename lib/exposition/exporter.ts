import type { Labels, MetricsSnapshot } from '../telemetry/snapshot.ts'

/** What is asked of an exporter. */
export interface ExportRequest {
  /** One of the exporter's own. */
  readonly format: string
  /** Where the page goes: `http` (somebody asked `/metrics`), `code`, or a target of `observability.export`: `file`, `push`. */
  readonly target: string
  /** Attributes of what the metrics describe, such as `service.name`. */
  readonly resource: Labels
}

/** What this process has written to the store for the others. */
export interface SyncInfo {
  /** The number of metrics. */
  readonly metrics: number
  readonly bytes: number
}

/** A page that was delivered. */
export interface CompletedExport extends ExportRequest {
  readonly bytes: number
  readonly durationMs: number
}

/**
 * Writes metrics in one or more formats. A plain object will do, and the hooks may be left out. If `export` throws or rejects, the
 * request for that page fails, and nothing else does. It also fails if `export` takes longer than 10 seconds.
 *
 * ```ts
 * app.jobExporters.register({
 *   name: 'statsd',
 *   formats: ['statsd'],
 *   contentType: 'text/plain',
 *   export: ({ families }) => families.flatMap(({ name, points }) => points.map(…)).join('\n')
 * })
 * ```
 */
export interface MetricsExporter {
  /** Names it in events, and to unregister it: letters, digits, `_`, `.`, `-`. */
  readonly name: string
  /** The formats it writes, each reachable as `/metrics?format=…`: lower-case letters, digits, `_`, `.`, `-`, `+`. */
  readonly formats: readonly string[]
  /** The media type of a page: one for all formats, or one for each. */
  readonly contentType: string | Readonly<Record<string, string>>
  /**
   * `true`: `export` gets the series themselves instead of a copy. That is cheaper, but their numbers may change while `export`
   * awaits something. @defaultValue false
   */
  readonly live?: boolean | undefined
  /** Writes the page. It must not change the snapshot. */
  export (snapshot: MetricsSnapshot, request: ExportRequest): ExportPage | Promise<ExportPage>
  /** Called after this process has written its metrics to the store for the other processes. */
  onSync? (info: SyncInfo): void
  /** Called before a page is written. */
  onRequested? (request: ExportRequest): void
  /** Called after a page was delivered: sent, written to its file, or returned to the caller. */
  onCompleted? (completed: CompletedExport): void
}

export type ExportPage = string | Uint8Array
