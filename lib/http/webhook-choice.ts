/** Which webhook a submission over HTTP has: the endpoint says so, or lets its clients choose. */
import type { FastifyRequest } from 'fastify'
import { refusalOfUrl } from '../channels/webhook-sender.ts'
import { webhookRefused } from '../channels/webhook-jobs.ts'
import { hostOf } from '../channels/webhook-transport.ts'
import type { ResolvedWebhooksOptions } from '../channels/webhook-options.ts'
import { AsyncEndpointsError } from '../core/errors.ts'
import { takeRejection } from '../core/rejections.ts'
import type { JobRuntime } from '../events/runtime.ts'
import type { JobWebhook } from '../jobs/job.ts'

/**
 * Who is called when a job of an endpoint has ended.
 *
 * - A URL, or `{ url }`: always this one.
 * - `{ from: 'header' }`: the one in the request header `webhooks.header`, if the client sends it.
 * - `{ from: 'body', field }`: the one in this member of the body, if it is there.
 *
 * A URL that a client sends is refused unless `webhooks.allow` allows it. `include: 'result'`: the message has the result
 * of a completed job in it, if it is small enough.
 */
export type EndpointWebhook =
  | string
  | { readonly url: string, readonly include?: 'result' | undefined }
  | { readonly from: 'header', readonly include?: 'result' | undefined }
  | { readonly from: 'body', readonly field: string, readonly include?: 'result' | undefined }

const include = { const: 'result' }
const url = { type: 'string', minLength: 1, maxLength: 2_048 }
const group = (required: string[], properties: object): object => ({ type: 'object', additionalProperties: false, required, properties })

export const endpointWebhookSchema = {
  anyOf: [
    url,
    group(['url'], { url, include }),
    group(['from'], { from: { const: 'header' }, include }),
    group(['from', 'field'], { from: { const: 'body' }, field: { type: 'string', minLength: 1, maxLength: 200 }, include })
  ],
  description: 'a URL, { url }, { from: "header" } or { from: "body", field }, each with include: "result" if you like'
}

/** What is wrong with the webhook of an endpoint, as a sentence without its URL; `undefined`: nothing. */
export function webhookProblem (
  given: EndpointWebhook | undefined, options: ResolvedWebhooksOptions | undefined
): string | undefined {
  if (given === undefined) return undefined
  if (options === undefined) return 'webhook has no effect without the option webhooks of the plugin; give it at least webhooks: { secret }'
  const fixed = typeof given === 'string' ? given : 'url' in given ? given.url : undefined
  const refusal = fixed === undefined ? undefined : refusalOfUrl(fixed, options.outbound)
  return refusal && `webhook: ${refusal.sentence}; webhooks.outbound says what is allowed`
}

/** Finds the webhook of a request. */
export type ChooseWebhook = (request: FastifyRequest) => Promise<JobWebhook | undefined>

/**
 * Makes what finds the webhook of each submission to an endpoint; `undefined`: it has none.
 *
 * @param jobName for the event of a refusal
 */
export function compileWebhook (
  given: EndpointWebhook | undefined, options: ResolvedWebhooksOptions | undefined, { bus }: JobRuntime, jobName: string
): ChooseWebhook | undefined {
  if (given === undefined || options === undefined) return undefined
  if (typeof given === 'string') return async () => ({ url: given })
  const made = (chosen: string): JobWebhook => given.include === undefined ? { url: chosen } : { url: chosen, include: given.include }
  if ('url' in given) return async () => made(given.url)
  const sentBy = given.from === 'header'
    ? ({ headers }: FastifyRequest) => headers[options.header.toLowerCase()]
    : ({ body }: FastifyRequest) => isObject(body) && Object.hasOwn(body, given.field) ? body[given.field] : undefined
  const place = given.from === 'header' ? `the header ${options.header}` : `"${given.field}" of the body`
  return async (request) => {
    const sent = sentBy(request)
    if (sent === undefined || sent === null) return undefined
    if (typeof sent !== 'string' || sent.length > 2_048 || !URL.canParse(sent)) {
      throw new AsyncEndpointsError('FAE_INVALID_REQUEST', `The URL in ${place} is not a URL`)
    }
    if (await isAllowed(options.allow, new URL(sent), request)) return made(sent)
    bus.emit('webhook.refused', { jobName, host: hostOf(sent), reason: 'not-allowed' })
    throw webhookRefused('this server does not call URLs of this origin that clients have chosen', 'not-allowed')
  }
}

async function isAllowed (allow: ResolvedWebhooksOptions['allow'], url: URL, request: FastifyRequest): Promise<boolean> {
  if (allow === undefined) return false
  if (typeof allow !== 'function') return allow.has(url.origin)
  const answer: unknown = allow(url, request)
  takeRejection(answer)
  // Only `true`: a function that forgot to return, or returned a record, has not allowed anything.
  return await answer === true
}

function isObject (value: unknown): value is Record<string, unknown> { return typeof value === 'object' && value !== null }
