import type { Clock } from '../core/context.ts'
import { sleep } from '../core/deadline.ts'
import { watchEventLoop } from '../core/event-loop.ts'
import { found, notChecked, type Finding } from './findings.ts'

const MEASURE_MS = 500
const RESOLUTION_MS = 5
/** BullMQ renews a lease at half of its duration. */
const RENEWALS = 2

export interface EventLoopFacts {
  /** The largest delay of a timer in an idle process. */
  readonly maxDelayMs: number
  readonly measuredMs: number
}

/** Measures this process, which must be idle meanwhile: what delays it then would delay a worker too. */
export async function measureEventLoop (clock: Clock, measureMs = MEASURE_MS): Promise<EventLoopFacts> {
  const watch = watchEventLoop(RESOLUTION_MS)
  watch.start()
  await sleep(clock, measureMs)
  const sample = watch.sample()
  watch.stop()
  return { maxDelayMs: sample?.worstMs ?? measureMs, measuredMs: measureMs }
}

/** @param leaseMs the option of `redisStore()`; `undefined` without Redis, where no lease can be lost */
export function checkEventLoop ({ maxDelayMs, measuredMs }: EventLoopFacts, leaseMs: number | undefined): Finding {
  const id = 'worker.event-loop'
  if (leaseMs === undefined) return notChecked(id, 'the memory store has no leases that could be lost')
  const renewalMs = leaseMs / RENEWALS
  const what = `on this host an idle event loop was late by up to ${Math.round(maxDelayMs)} ms within ${measuredMs} ms; a lease of ` +
    `${leaseMs} ms is renewed every ${renewalMs} ms. Time that handlers block the loop comes on top`
  const fix = 'Give the process more CPU (container limits may throttle it), or raise redisStore({ leaseMs })'
  if (maxDelayMs >= renewalMs) return found(id, 'problem', what, fix)
  return maxDelayMs >= renewalMs / 10 ? found(id, 'warning', what, fix) : found(id, 'ok', what)
}
