import type { StoredError } from './job.ts'

const MAX_MESSAGE = 1_000
const MAX_CODE = 100
// Control characters would let a message forge log lines or SSE fields further on.
// eslint-disable-next-line no-control-regex
const CONTROL = /[\u0000-\u001f\u007f\u2028\u2029]+/g

function bounded (text: string, max: number): string {
  // Cut before replacing: a message of many megabytes must not be walked to its end.
  const clean = text.slice(0, max + 1).replace(CONTROL, ' ')
  return clean.length > max ? `${clean.slice(0, max - 1)}…` : clean
}

/**
 * Whatever a handler threw, as it may be stored and shown: a code for machines, a bounded message for people. Never
 * throws, whatever was thrown (a string, `undefined`, an object whose getters throw).
 */
export function toStoredError (thrown: unknown): StoredError {
  try {
    if (thrown instanceof Error) {
      const own = (thrown as { code?: unknown }).code
      const code = typeof own === 'string' && own !== '' ? own : thrown.name
      return { code: bounded(String(code || 'Error'), MAX_CODE), message: bounded(String(thrown.message), MAX_MESSAGE) }
    }
    const message = typeof thrown === 'string' ? thrown : `a value of type ${thrown === null ? 'null' : typeof thrown}`
    return { code: 'FAE_HANDLER_ERROR', message: bounded(`The handler threw ${message}`, MAX_MESSAGE) }
  } catch {
    return { code: 'FAE_HANDLER_ERROR', message: 'The handler threw a value that cannot be read' }
  }
}

/** A bounded, single-line text for a cancel or discard reason. */
export function toReason (text: unknown, fallback: string): string {
  return typeof text === 'string' && text.trim() !== '' ? bounded(text, MAX_MESSAGE) : fallback
}
