/**
 * Adds two things that exporters lack: a report of each failed export, and a way to end running exports. The OTLP
 * exporters offer no way for the second, so this file uses private fields of theirs, and does nothing where they are
 * not as expected.
 */
import type { SpanExporter } from '@opentelemetry/sdk-trace-node'

/** The answer of a send that was given up. */
const GIVEN_UP = Object.freeze({ status: 'failure', error: new Error('the application has closed') })
const SUCCESS = 0

/** Wraps an exporter so that every failed export is reported. */
export function reportingExporter (exporter: SpanExporter, failed: (error: unknown) => void): SpanExporter {
  return {
    export: (spans, done) => {
      exporter.export(spans, (result) => {
        if (result.code !== SUCCESS) failed(result.error ?? new Error('the exporter did not say why'))
        done(result)
      })
    },
    forceFlush: async () => { await exporter.forceFlush?.() },
    shutdown: () => exporter.shutdown()
  }
}

/**
 * Replaces the waits between the retries of an OTLP exporter. Its own timers cannot be cleared from outside, and keep
 * the process alive for up to ten seconds when the collector is down.
 *
 * @returns a function that ends the waits and closes the connections; call it when the application has closed
 */
export function takeRetries (exporter: object): () => void {
  const transport = field(field(exporter, '_delegate'), '_transport')
  const inner = field(transport, '_transport')
  const send: unknown = inner === undefined ? undefined : Reflect.get(inner, 'send')
  if (transport === undefined || inner === undefined || typeof send !== 'function') return () => {}
  if (typeof Reflect.get(transport, 'retry') !== 'function') return () => {}
  let over = false
  const waits = new Set<() => void>()
  const retry = (data: unknown, timeoutMs: number, inMs: number): Promise<unknown> => over
    ? Promise.resolve(GIVEN_UP)
    : new Promise((resolve) => {
      const stop = (): void => {
        clearTimeout(timer)
        resolve(GIVEN_UP)
      }
      const timer = setTimeout(() => {
        waits.delete(stop)
        resolve(send.call(inner, data, timeoutMs))
      }, inMs)
      waits.add(stop)
    })
  Reflect.set(transport, 'retry', retry)
  return () => {
    over = true
    for (const stop of waits) stop()
    waits.clear()
    const agent = field(field(inner, '_utils'), 'agent')
    const destroy: unknown = agent === undefined ? undefined : Reflect.get(agent, 'destroy')
    if (typeof destroy === 'function') destroy.call(agent)
  }
}

function field (owner: object | undefined, name: string): object | undefined {
  const value: unknown = owner === undefined ? undefined : Reflect.get(owner, name)
  return typeof value === 'object' && value !== null ? value : undefined
}
