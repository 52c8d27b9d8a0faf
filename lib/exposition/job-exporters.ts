import type { MetricsExporter } from './exporter.ts'
import type { ExportedPage } from './exporter-registry.ts'

/** `app.jobExporters`: the formats of metrics. `prometheus`, `openmetrics`, `json` and `csv` are always there. */
export interface JobExporters {
  /**
   * Adds an exporter. Its formats are reachable as `/metrics?format=…`, and by `export()`.
   *
   * @param options `replace`: the exporter takes the place of the one with its name, and takes over formats of others; an exporter that
   * loses all its formats is removed @defaultValue `{ replace: false }`
   *
   * @throws {AsyncEndpointsError} `FAE_DUPLICATE_EXPORTER` when the name or a format is taken, without `replace`; `FAE_INVALID_OPTIONS` for
   * an exporter or an option that is not valid
   */
  register (exporter: MetricsExporter, options?: RegisterExporterOptions): void
  /** Removes an exporter; a built-in one that it had replaced is there again. @returns whether there was one */
  unregister (name: string): boolean
  /** The exporter that writes this format. */
  findByFormat (format: string): MetricsExporter | undefined
  /** Every format that can be asked for. */
  formats (): string[]
  /** The names of all exporters. */
  names (): string[]
  /**
   * Writes the metrics as a page.
   *
   * @throws {AsyncEndpointsError} `FAE_UNKNOWN_FORMAT`; `FAE_EXPORT_FAILED` when the exporter threw or took more than 10 seconds;
   * `FAE_STORE_UNAVAILABLE` when the metrics of the other processes cannot be read; `FAE_INVALID_OPTIONS` for an option that is not valid,
   * and for `includeInstances` where the processes do not share their metrics
   */
  export (options?: MetricsPageOptions): Promise<ExportedPage>
}

export interface RegisterExporterOptions {
  readonly replace?: boolean | undefined
}

export interface MetricsPageOptions {
  /** The format of a registered exporter. @defaultValue 'prometheus' */
  readonly format?: string | undefined
  /**
   * Over all processes on the store: `true` with a label `instance` on every series, `false` summed up. A store that several processes
   * share needs a target in `observability.export` for it: without one they do not share their metrics. @defaultValue this process alone
   */
  readonly includeInstances?: boolean | undefined
}
