/** How a client wants to hear of its job: what it asks for at submission, and what it is answered. */
import type { FastifyRequest } from 'fastify'
import type { ResolvedListeningOptions } from '../channels/options.ts'
import { AsyncEndpointsError } from '../core/errors.ts'
import type { JobLinks } from './links.ts'

/** The ways to listen to a job. */
export const LISTENING = ['poll', 'sse', 'websocket', 'webhook'] as const
export type Listening = typeof LISTENING[number]

/** In the answer to a submission: the channel that the client asked for, and where it is. */
export interface ListeningDocument {
  readonly channel: Listening
  /** Where to listen; absent for a webhook, which calls the client. */
  readonly url?: string | undefined
}

/**
 * Reads the header `Listening`, or else the query parameter `listening`.
 *
 * @returns `undefined`: the client did not ask
 * @throws {AsyncEndpointsError} `FAE_INVALID_REQUEST` for a channel that does not exist
 */
export function readListening ({ headers, url }: Pick<FastifyRequest, 'headers' | 'url'>): Listening | undefined {
  const { listening } = headers
  // The query is read from the URL: the schema of an endpoint may remove what it does not know.
  const asked = listening ?? (url.includes('listening=') ? new URLSearchParams(url.slice(url.indexOf('?') + 1)).get('listening') : null)
  if (asked === null) return undefined
  const wish = LISTENING.find((channel) => channel === asked)
  if (wish === undefined) throw new AsyncEndpointsError('FAE_INVALID_REQUEST', `listening must be one of ${LISTENING.join(', ')}`)
  return wish
}

/**
 * Refuses a wish that cannot be fulfilled, before anything is stored.
 *
 * @param listening which channels this process has
 * @param hasWebhook whether this submission has a webhook
 * @throws {AsyncEndpointsError} `FAE_INVALID_REQUEST`
 */
export function assertListening (wish: Listening | undefined, listening: ResolvedListeningOptions, hasWebhook: boolean): void {
  const open = { poll: true, sse: listening.sse, websocket: listening.webSocket !== false, webhook: hasWebhook }
  if (wish === undefined || open[wish]) return
  const why = wish === 'webhook' ? 'this submission has no webhook' : 'this server does not have this channel'
  throw new AsyncEndpointsError('FAE_INVALID_REQUEST', `listening cannot be ${wish}: ${why}`)
}

export function listeningDocument (wish: Listening, id: string, links: JobLinks): ListeningDocument {
  if (wish === 'webhook') return { channel: wish }
  // A stream has the URL of the status, and is asked for with `Accept: text/event-stream`.
  return { channel: wish, url: wish === 'websocket' ? links.socket : links.self(id) }
}
