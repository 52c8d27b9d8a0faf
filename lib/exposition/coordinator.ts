import type { Context } from '../core/context.ts'
import { BaseService } from '../core/service.ts'
import type { SharedState } from '../core/shared.ts'
import type { EventBus } from '../events/bus.ts'
import type { MetricsSnapshot } from '../telemetry/snapshot.ts'
import type { ExporterRegistry } from './exporters.ts'
import type { ReadExportOptions } from './options.ts'

export interface CoordinatorParts {
  readonly context: Context
  readonly bus: EventBus
  readonly exporters: ExporterRegistry
  readonly snapshot: () => MetricsSnapshot
  /** Absent: this process is alone. */
  readonly shared: SharedState | undefined
  readonly options: ReadExportOptions
  readonly quietly: <R>(work: () => R) => R
}

/** Brings metrics to their targets. */
export class ExportCoordinator extends BaseService {
  readonly parts: CoordinatorParts

  constructor (parts: CoordinatorParts) {
    super()
    this.parts = parts
  }

  protected async onStart (): Promise<void> {}
  protected async onStop (): Promise<void> {}
}
