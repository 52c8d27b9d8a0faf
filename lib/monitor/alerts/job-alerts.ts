import type { Alert } from './alert.ts'

/** `app.jobAlerts`: what is wrong now. */
export interface JobAlerts {
  /** True while this process evaluates the rules; among the processes on one store one does. */
  readonly leading: boolean
  /** The alerts that fire now, the oldest first. While the store cannot be reached: those that this process knows of. */
  active (): Promise<readonly Alert[]>
  /**
   * Evaluates the rules now instead of at the next interval, if this process is the one that evaluates. Resolves when new notices were
   * sent; never rejects.
   */
  check (): Promise<void>
}
