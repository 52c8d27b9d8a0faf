/**
 * Sends notices by HTTP, signed after Standard Webhooks 1.0.0 (`webhook-id`, `webhook-timestamp`, `webhook-signature`).
 */
import type { Clock } from '../../core/context.ts'
import { deliver, DeliveryPace } from '../../core/http-delivery.ts'
import { HttpSender, unsendableHeaders } from '../../core/http-sender.ts'
import { invalidOptions, readOptions, type OptionsSchema } from '../../core/options.ts'
import { ALLOW_PRIVATE_SCHEMA, operatorPolicy, rangeProblems } from '../../core/outbound-policy.ts'
import { operatorUrlProblem } from '../../core/public-address.ts'
import { cut } from '../../core/text.ts'
import { isWebhookSecret, SECRET_RULE, signWebhook } from '../../core/webhook-signature.ts'
import { AlertSendError, type AlertNotice, type AlertSender } from './alert.ts'

export interface AlertWebhookOptions {
  /** `https:` or `http:`, at a public address unless `allowPrivate` says more. Redirects are not followed. */
  url: string
  /**
   * Allows a receiver that is not public: `true` for any private network and this machine, or your ranges, such as
   * `['10.20.0.0/16']`. Needed for every URL with an IP address or a host name without a dot. A receiver whose name has
   * a private address that is not allowed gets nothing: each attempt fails with `FAE_URL_REFUSED`.
   *
   * @defaultValue false
   */
  allowPrivate?: boolean | readonly string[] | undefined
  /**
   * `whsec_` and 24 to 64 random bytes in base64, as `openssl rand -base64 32` makes them. With several secrets, each
   * adds a signature: give the new and the old one while receivers change over.
   */
  secret: string | readonly string[]
  /** Further headers of the request. */
  headers?: Readonly<Record<string, string>> | undefined
  /** How many milliseconds one request may take. @defaultValue 5000 */
  timeoutMs?: number | undefined
  /**
   * How often a notice is sent until a request succeeds, with exponential backoff, as far as `senderTimeoutMs` allows.
   * @defaultValue 3
   */
  attempts?: number | undefined
}

export type ResolvedAlertWebhookOptions =
  Readonly<Required<Omit<AlertWebhookOptions, 'secret'>> & { name: string, secrets: readonly string[] }>

/** Headers that the sender writes itself. */
const SIGNED = /^(webhook-.*|content-type)$/i
const LONGEST_BACKOFF_MS = 10_000

const secretSchema = { type: 'string', minLength: 1 }
const webhookSchema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['url', 'secret'],
  properties: {
    url: { type: 'string', pattern: '^https?://', description: 'a URL that begins with http:// or https://' },
    allowPrivate: ALLOW_PRIVATE_SCHEMA,
    secret: { anyOf: [secretSchema, { type: 'array', items: secretSchema, minItems: 1, maxItems: 5 }] },
    headers: { type: 'object', additionalProperties: { type: 'string' } },
    timeoutMs: { type: 'number', minimum: 1, maximum: 300_000 },
    attempts: { type: 'integer', minimum: 1, maximum: 10 }
  }
}

const NO_HEADERS: Readonly<Record<string, string>> = Object.freeze({})
const WEBHOOK_DEFAULTS = Object.freeze({
  headers: NO_HEADERS, timeoutMs: 5_000, attempts: 3, allowPrivate: false as boolean | readonly string[]
})

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS`; its message shows neither the URL nor a secret */
export function readWebhook (given: AlertWebhookOptions, name: string): ResolvedAlertWebhookOptions {
  const read = readOptions<AlertWebhookOptions, typeof WEBHOOK_DEFAULTS>('alerts.webhook', webhookSchema, WEBHOOK_DEFAULTS, given)
  const { secret, ...options } = read
  const secrets = [secret].flat() as readonly string[]
  const problems = rangeProblems('allowPrivate', options.allowPrivate)
  const url = URL.canParse(options.url) ? new URL(options.url) : undefined
  if (url === undefined) problems.push('url is not a URL')
  else if (url.username !== '' || url.password !== '') problems.push('url must hold no credentials; give them in headers')
  else if (problems.length === 0) {
    const problem = operatorUrlProblem(url, options.allowPrivate)
    if (problem !== undefined) problems.push(`url: ${problem}`)
  }
  if (!secrets.every(isWebhookSecret)) problems.push(`secret must be ${SECRET_RULE}`)
  const reserved = Object.keys(options.headers).filter((header) => SIGNED.test(header))
  problems.push(...reserved.map((header) => `headers: ${header} is set by the sender`))
  problems.push(...unsendableHeaders(options.headers).map((header) => `headers: ${JSON.stringify(cut(header, 50))} cannot be sent`))
  if (problems.length > 0) throw invalidOptions('alerts.webhook', problems)
  return Object.freeze({ ...options, name, secrets: Object.freeze([...secrets]) })
}

/** The body of the request, in the envelope of Standard Webhooks. */
export function webhookBody ({ kind, at, alert: { startedAt, ...alert } }: AlertNotice): string {
  const data = { ...alert, startedAt: new Date(startedAt).toISOString() }
  return JSON.stringify({ type: `alert.${kind}`, timestamp: new Date(at).toISOString(), data })
}

export function webhookSender (options: ResolvedAlertWebhookOptions, clock: Clock, random?: () => number): AlertSender {
  const { attempts, name, secrets, timeoutMs, url } = options
  // Notices are rare: no connection is kept, so that there is nothing to close.
  const sender = new HttpSender({ clock, policy: operatorPolicy(options.allowPrivate), keepAlive: false })
  return {
    name,
    send: async (notice, { signal }) => {
      const body = webhookBody(notice)
      const error = await deliver({
        clock,
        sender,
        url,
        receiver: 'the webhook',
        timeoutMs,
        attempts,
        // Each notice begins with a short backoff of its own: failures of the notice before must not delay it.
        pace: new DeliveryPace(clock, LONGEST_BACKOFF_MS, random),
        signal,
        message: () => {
          // The time of this request, not of the first one: receivers refuse old timestamps as replays.
          const timestamp = Math.floor(clock.now() / 1_000)
          const signed = {
            'content-type': 'application/json',
            'webhook-id': notice.id,
            'webhook-timestamp': String(timestamp),
            'webhook-signature': signWebhook(secrets, notice.id, timestamp, body)
          }
          return { headers: { ...options.headers, ...signed }, body }
        }
      })
      if (error !== undefined) throw new AlertSendError(error.code, error.message)
    }
  }
}
