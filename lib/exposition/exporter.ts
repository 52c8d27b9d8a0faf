import type { Labels, MetricsSnapshot } from '../telemetry/snapshot.ts'

/** What is asked of an exporter. */
export interface ExportRequest {
  /** One of the exporter's own. */
  readonly format: string
  /** Where the page goes: `http` (somebody asked `/metrics`), `code`, or a target of `observability.export`: `file`, `push`. */
  readonly target: string
  /** Whom the metrics are of: attributes such as `service.name`. */
  readonly resource: Labels
}

/** How the processes on one store were told of this one's metrics. */
export interface SyncInfo {
  /** Metrics shown. */
  readonly metrics: number
  readonly bytes: number
}

/** What went out. */
export interface CompletedExport extends ExportRequest {
  readonly bytes: number
  readonly durationMs: number
}

/**
 * Writes metrics in one or more formats. A plain object does; the hooks may be left out. Whatever it throws (or rejects with)
 * is told to who asked for the page and harms nobody else; an `export` that takes longer than 10 seconds is given up.
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
  /** What it can write: lower-case letters, digits, `_`, `.`, `-`, `+`; each is reachable as `/metrics?format=…`. */
  readonly formats: readonly string[]
  /** Of the page, or per format. */
  readonly contentType: string | Readonly<Record<string, string>>
  /**
   * Read the series where they are instead of being given a copy: cheaper, but their numbers may change while `export` waits
   * for something. @defaultValue false
   */
  readonly live?: boolean | undefined
  /** The page. The snapshot is not to be changed. */
  export (snapshot: MetricsSnapshot, request: ExportRequest): ExportPage | Promise<ExportPage>
  /** This process has shown its metrics to the others on its store. */
  onSync? (info: SyncInfo): void
  /** A page is about to be written. */
  onRequested? (request: ExportRequest): void
  /** The page was delivered: sent, written to its file, or handed to who asked. */
  onCompleted? (completed: CompletedExport): void
}

export type ExportPage = string | Uint8Array
