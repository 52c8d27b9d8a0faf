import { singleLine } from '../core/text.ts'
import type { StoredError } from './job.ts'

const MAX_MESSAGE = 1_000
const MAX_CODE = 100
const MAX_CAUSES = 5
const MAX_CAUSE = 300
const MAX_FRAMES = 10
/** The most characters of a stack: enough for ten long frames. */
const MAX_STACK = 8_192

/** Removes from a text what must not be shown. */
type Clean = (text: string) => string

/**
 * Makes an error that may be stored and shown of anything that a handler threw: a code for machines and a bounded
 * message for people. Never throws, whatever was thrown (a string, `undefined`, an object whose getters throw).
 *
 * @param clean the application's redaction; required for everything that is stored or leaves the process
 */
export function toStoredError (thrown: unknown, clean?: Clean): StoredError {
  try {
    if (thrown instanceof Error) {
      const stored: StoredError = { code: codeOf(thrown, clean), message: singleLine(String(thrown.message), MAX_MESSAGE, clean) }
      return isForClients(thrown) ? { ...stored, expose: true } : stored
    }
    const message = typeof thrown === 'string' ? thrown : `a value of type ${thrown === null ? 'null' : typeof thrown}`
    return { code: 'FAE_HANDLER_ERROR', message: singleLine(`The handler threw ${message}`, MAX_MESSAGE, clean) }
  } catch {
    return { code: 'FAE_HANDLER_ERROR', message: 'The handler threw a value that cannot be read' }
  }
}

/** The code of an error, for labels and events: its own `code`, or else the name of its class. Never throws. */
export function errorCodeOf (thrown: unknown, clean?: Clean): string {
  try {
    return thrown instanceof Error ? codeOf(thrown, clean) : 'UNKNOWN'
  } catch {
    return 'UNKNOWN'
  }
}

function codeOf (error: Error, clean?: Clean): string {
  const own = (error as { code?: unknown }).code
  const code = typeof own === 'string' && own !== '' ? own : error.name
  return singleLine(String(code || 'Error'), MAX_CODE, clean)
}

/** Whether a client may read the message; `http-errors` marks errors in the same way. */
function isForClients (error: Error): boolean {
  return 'expose' in error && error.expose === true
}

/** A bounded, single-line text for a cancel or discard reason. */
export function toReason (text: unknown, fallback: string, clean?: Clean): string {
  return typeof text === 'string' && text.trim() !== '' ? singleLine(text, MAX_MESSAGE, clean) : fallback
}

/**
 * Causes and stack of a thrown error. They are computed on access, because formatting a stack takes longer than many
 * handlers. Never throws.
 */
export class ThrownFailure {
  readonly #thrown: unknown
  readonly #clean: Clean

  constructor (thrown: unknown, clean: Clean) {
    this.#thrown = thrown
    this.#clean = clean
  }

  /** The chain of causes, the nearest first, each as `code: message`. */
  get causes (): readonly string[] {
    const causes: string[] = []
    try {
      const open = behind(this.#thrown)
      const seen = new Set<unknown>([this.#thrown])
      while (open.length > 0 && causes.length < MAX_CAUSES) {
        const cause = open.shift()
        if (seen.has(cause)) continue
        seen.add(cause)
        const { code, message } = toStoredError(cause, this.#clean)
        causes.push(singleLine(cause instanceof Error ? `${code}: ${message}` : message, MAX_CAUSE))
        open.push(...behind(cause))
      }
    } catch { /* return the causes found so far */ }
    return causes
  }

  /** The innermost stack frames, without the message. */
  get stack (): readonly string[] {
    try {
      if (!(this.#thrown instanceof Error)) return []
      const { stack, name, message } = this.#thrown
      if (typeof stack !== 'string') return []
      // Skip the message, because its lines could look like frames.
      const head = `${name}: ${message}`
      const frames = stack.startsWith(head) ? stack.slice(head.length, head.length + MAX_STACK) : stack.slice(0, MAX_STACK)
      return frames.split('\n').filter((line) => /^\s+at /.test(line)).slice(0, MAX_FRAMES).map((line) => singleLine(line.trim(), MAX_CAUSE, this.#clean))
    } catch {
      return []
    }
  }
}

/** The direct causes of an error; an `AggregateError` has several. */
function behind (thrown: unknown): unknown[] {
  if (!(thrown instanceof Error)) return []
  const { cause, errors } = thrown as { cause?: unknown, errors?: unknown }
  return [...(cause === undefined || cause === null ? [] : [cause]), ...(Array.isArray(errors) ? errors.slice(0, MAX_CAUSES) : [])]
}
