import type { Clock } from '../core/context.ts'
import { sleep } from '../core/deadline.ts'
import { watchEventLoop } from '../core/event-loop.ts'
import { found, notChecked, type Finding } from './findings.ts'

const MEASURE_MS = 500
const RESOLUTION_MS = 5
/** BullMQ renews a lease when half of it is over. */
const RENEWALS = 2

export interface EventLoopFacts {
  /** The most by which a timer of an idle process was late. */
  readonly maxDelayMs: number
  readonly measuredMs: number
}

/** Measures this process, which must have nothing else to do meanwhile: what delays it then delays a worker as well. */
export async function measureEventLoop (clock: Clock, measureMs = MEASURE_MS): Promise<EventLoopFacts> {
  const watch = watchEventLoop(RESOLUTION_MS)
  watch.start()
  await sleep(clock, measureMs)
  const sample = watch.sample()
  watch.stop()
  return { maxDelayMs: sample?.worstMs ?? measureMs, measuredMs: measureMs }
}

/** @param leaseMs of `redisStore()`; `undefined` without Redis, where no lease can be lost */
export function checkEventLoop ({ maxDelayMs, measuredMs }: EventLoopFacts, leaseMs: number | undefined): Finding {
  const id = 'worker.event-loop'
  if (leaseMs === undefined) return notChecked(id, 'the memory store has no leases that could be lost')
  const renewalMs = leaseMs / RENEWALS
  const what = `on this host an idle event loop was late by up to ${Math.round(maxDelayMs)} ms within ${measuredMs} ms; a lease of ${leaseMs} ms is renewed every ${renewalMs} ms. What handlers block is not in it`
  const fix = 'Give the process more CPU (look for throttling: container limits), or raise redisStore({ leaseMs })'
  if (maxDelayMs >= renewalMs) return found(id, 'problem', what, fix)
  return maxDelayMs >= renewalMs / 10 ? found(id, 'warning', what, fix) : found(id, 'ok', what)
}
