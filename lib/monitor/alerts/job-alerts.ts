import type { Alert } from './alert.ts'

/** `app.jobAlerts`: what is wrong now. */
export interface JobAlerts {
  /** True while this process evaluates the rules. Of all processes on one store, one does. */
  readonly leading: boolean
  /**
   * The alerts that fire now, the oldest first. While the store cannot be reached, only those that this process knows
   * of.
   */
  active (): Promise<readonly Alert[]>
  /**
   * Evaluates the rules now instead of at the next interval, if this process is the one that evaluates. Resolves after
   * new notices were sent; never rejects.
   */
  check (): Promise<void>
}
