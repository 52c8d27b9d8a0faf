/** Notices by HTTP, signed as Standard Webhooks 1.0.0 asks (`webhook-id`, `webhook-timestamp`, `webhook-signature`). */
import { createHmac } from 'node:crypto'
import type { Clock } from '../../core/context.ts'
import { sleep } from '../../core/deadline.ts'
import { invalidOptions, readOptions, type OptionsSchema } from '../../core/options.ts'
import { readRetryAfter } from '../../core/retry-after.ts'
import { cut } from '../../core/text.ts'
import { AlertSendError, type AlertNotice, type AlertSender } from './alert.ts'

export interface AlertWebhookOptions {
  /** `https:` or `http:`. It is yours to choose, so private addresses are allowed; redirects are not followed. */
  url: string
  /**
   * `whsec_` and 24 to 64 random bytes in base64, as `openssl rand -base64 32` makes them. Of several, each signs: give the
   * new one and the old one while receivers change over.
   */
  secret: string | readonly string[]
  /** Further headers. */
  headers?: Readonly<Record<string, string>>
  /** One attempt may take this long. @defaultValue 5000 */
  timeoutMs?: number
  /** Attempts at one notice, with exponential backoff between them, as far as `senderTimeoutMs` allows. @defaultValue 3 */
  attempts?: number
}

export type ResolvedAlertWebhookOptions = Readonly<Required<Omit<AlertWebhookOptions, 'secret'>> & { name: string, secrets: readonly string[] }>

const SECRET = /^whsec_[A-Za-z0-9+/]+={0,2}$/
const MIN_SECRET_BYTES = 24
const MAX_SECRET_BYTES = 64
const FIRST_BACKOFF_MS = 500
const LONGEST_BACKOFF_MS = 10_000

const secretSchema = { type: 'string', minLength: 1 }
const webhookSchema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['url', 'secret'],
  properties: {
    url: { type: 'string', pattern: '^https?://', description: 'a URL that begins with http:// or https://' },
    secret: { anyOf: [secretSchema, { type: 'array', items: secretSchema, minItems: 1, maxItems: 5 }] },
    headers: { type: 'object', additionalProperties: { type: 'string' } },
    timeoutMs: { type: 'number', minimum: 1, maximum: 300_000 },
    attempts: { type: 'integer', minimum: 1, maximum: 10 }
  }
}

const WEBHOOK_DEFAULTS = Object.freeze({ headers: Object.freeze({}) as Readonly<Record<string, string>>, timeoutMs: 5_000, attempts: 3 })

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS`; its message shows neither the URL nor a secret */
export function readWebhook (given: AlertWebhookOptions, name: string): ResolvedAlertWebhookOptions {
  const { secret, ...options } = readOptions<AlertWebhookOptions, typeof WEBHOOK_DEFAULTS>('alerts.webhook', webhookSchema, WEBHOOK_DEFAULTS, given)
  const secrets = [secret].flat() as readonly string[]
  const problems: string[] = []
  const url = URL.canParse(options.url) ? new URL(options.url) : undefined
  if (url === undefined) problems.push('url is not a URL')
  else if (url.username !== '' || url.password !== '') problems.push('url must hold no credentials; give them in headers')
  if (!secrets.every(isSecret)) problems.push(`secret must be "whsec_" and ${MIN_SECRET_BYTES} to ${MAX_SECRET_BYTES} random bytes in base64, for example from: openssl rand -base64 32`)
  for (const [header, value] of Object.entries(options.headers)) {
    if (/^(webhook-.*|content-type)$/i.test(header)) problems.push(`headers: ${header} is set by the sender`)
    else if (!canBeSent(header, value)) problems.push(`headers: ${JSON.stringify(cut(header, 50))} cannot be sent`)
  }
  if (problems.length > 0) throw invalidOptions('alerts.webhook', problems)
  return Object.freeze({ ...options, name, secrets: Object.freeze([...secrets]) })
}

function isSecret (secret: string): boolean {
  const bytes = keyOf(secret).length
  return SECRET.test(secret) && bytes >= MIN_SECRET_BYTES && bytes <= MAX_SECRET_BYTES
}

function canBeSent (header: string, value: string): boolean {
  try {
    return new Headers({ [header]: value }) !== undefined
  } catch {
    return false
  }
}

function keyOf (secret: string): Buffer {
  return Buffer.from(secret.slice(secret.indexOf('_') + 1), 'base64')
}

/** The value of `webhook-signature`: over id, seconds and body, byte for byte, one signature per secret. */
export function signWebhook (secrets: readonly string[], id: string, timestamp: number, body: string): string {
  return secrets.map((secret) => `v1,${createHmac('sha256', keyOf(secret)).update(`${id}.${timestamp}.${body}`).digest('base64')}`).join(' ')
}

/** What is sent: the envelope of Standard Webhooks. */
export function webhookBody ({ kind, at, alert: { startedAt, ...alert } }: AlertNotice): string {
  return JSON.stringify({ type: `alert.${kind}`, timestamp: new Date(at).toISOString(), data: { ...alert, startedAt: new Date(startedAt).toISOString() } })
}

export function webhookSender (options: ResolvedAlertWebhookOptions, clock: Clock, random: () => number = Math.random): AlertSender {
  const { attempts, name } = options
  return {
    name,
    send: async (notice, { signal }) => {
      const body = webhookBody(notice)
      for (let attempt = 1; ; attempt++) {
        const error = await post(options, clock, notice.id, body, signal)
        if (error === undefined) return
        if (!error.passing || attempt >= attempts || signal.aborted) throw error
        // Half of it by chance: what failed together must not come back together.
        const backoffMs = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** (attempt - 1)) * (0.5 + random() / 2)
        await sleep(clock, Math.max(backoffMs, error.retryAfterMs), signal)
        if (signal.aborted) throw error
      }
    }
  }
}

/** Without the URL and the headers: both may hold secrets. */
class WebhookError extends AlertSendError {
  readonly passing: boolean
  readonly retryAfterMs: number

  constructor (code: string, message: string, passing: boolean, retryAfterMs = 0) {
    super(code, message)
    this.passing = passing
    this.retryAfterMs = retryAfterMs
  }
}

/** @returns what went wrong, if anything did */
async function post (options: ResolvedAlertWebhookOptions, clock: Clock, id: string, body: string, signal: AbortSignal): Promise<WebhookError | undefined> {
  // Of this attempt, by the clock of whoever receives it: an old one is refused as a replay.
  const timestamp = Math.floor(clock.now() / 1_000)
  const headers = {
    ...options.headers, 'content-type': 'application/json', 'webhook-id': id, 'webhook-timestamp': String(timestamp), 'webhook-signature': signWebhook(options.secrets, id, timestamp, body)
  }
  const late = new AbortController()
  const timer = clock.setTimeout(() => { late.abort() }, options.timeoutMs)
  try {
    // A redirect would carry the alert, and headers with secrets, to somebody else.
    const response = await fetch(options.url, { method: 'POST', headers, body, redirect: 'manual', signal: AbortSignal.any([signal, late.signal]) })
    await response.body?.cancel()
    return response.ok ? undefined : refused(response, clock.now())
  } catch (error) {
    if (late.signal.aborted || signal.aborted) return new WebhookError('ETIMEDOUT', 'the webhook did not answer in time', true)
    return new WebhookError(networkCode(error), 'the webhook could not be reached', true)
  } finally {
    clock.clearTimeout(timer)
  }
}

function refused ({ status, headers }: Response, now: number): WebhookError {
  const passing = status === 408 || status === 425 || status === 429 || status >= 500
  // A wish for more patience than a sender has is answered by the next evaluation.
  return new WebhookError(`HTTP_${status}`, `the webhook answered ${status}`, passing, readRetryAfter(headers.get('retry-after'), now))
}

/** `fetch failed` says nothing; its cause does. */
function networkCode (error: unknown): string {
  const cause: unknown = error instanceof Error ? error.cause : undefined
  const code: unknown = typeof cause === 'object' && cause !== null ? Reflect.get(cause, 'code') : undefined
  return typeof code === 'string' && /^[A-Z][A-Z0-9_]{1,40}$/.test(code) ? code : 'ENETWORK'
}
