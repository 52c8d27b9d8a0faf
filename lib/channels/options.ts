/** The options of the channels. */
import { OptionProblems, readOptions, type OptionsSchema } from '../core/options.ts'
import { originProblems } from './allowed-origins.ts'

/** How clients listen to their jobs, besides asking for them. */
export interface ListeningOptions {
  /**
   * Server-sent events: `GET /jobs/:id` with `Accept: text/event-stream`, and `GET /jobs/events?id=…`.
   *
   * @defaultValue true
   */
  sse?: boolean | undefined
  /**
   * A WebSocket at `/jobs/socket`. Needs the package `@fastify/websocket`.
   *
   * @defaultValue false
   */
  webSocket?: boolean | WebSocketOptions | undefined
  /**
   * How many streams and sockets may be open in this process. When all are taken, the client with the most of them
   * loses its oldest to a client that has fewer.
   *
   * @defaultValue 10000
   */
  maxConnections?: number | undefined
  /**
   * How many streams and sockets one client may have in this process: the owner of its requests, or else its address.
   * Behind a proxy all clients without an owner have one address, unless Fastify's `trustProxy` is set.
   *
   * @defaultValue 100
   */
  maxPerClient?: number | undefined
  /**
   * After how many milliseconds a stream or socket ends, sooner or later by a fifth. The client comes back, and is
   * asked again who it is.
   *
   * @defaultValue 600000 (10 minutes)
   */
  maxAgeMs?: number | undefined
  /**
   * Between two signs of life on a stream or socket, in milliseconds. Proxies close a connection that is silent: nginx
   * after 60 s.
   *
   * @defaultValue 15000
   */
  pingMs?: number | undefined
}

/** `listening.webSocket`. */
export interface WebSocketOptions {
  /**
   * The origins of pages that may open a WebSocket, such as `https://shop.example`; `'*'` among them allows every page.
   * A browser sends its cookies with a WebSocket to any server and asks for no permission, so list only pages that you
   * trust. Programs that are no browsers send no origin, and are not affected.
   *
   * @defaultValue pages of the host that the request is for
   */
  origins?: readonly string[] | undefined
}

export interface ResolvedListeningOptions {
  readonly sse: boolean
  readonly webSocket: boolean | WebSocketOptions
  readonly maxConnections: number
  readonly maxPerClient: number
  readonly maxAgeMs: number
  readonly pingMs: number
}

const listeningSchema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    sse: { type: 'boolean' },
    webSocket: {
      anyOf: [
        { type: 'boolean' },
        {
          type: 'object',
          additionalProperties: false,
          properties: { origins: { type: 'array', items: { type: 'string' } } }
        }
      ]
    },
    maxConnections: { type: 'integer', minimum: 1 },
    maxPerClient: { type: 'integer', minimum: 1 },
    maxAgeMs: { type: 'integer', minimum: 1_000, maximum: 86_400_000 },
    pingMs: { type: 'integer', minimum: 100, maximum: 3_600_000 }
  }
}

const DEFAULTS = {
  sse: true, webSocket: false, maxConnections: 10_000, maxPerClient: 100, maxAgeMs: 600_000, pingMs: 15_000
}

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS`, every bad key in one message */
export function readListeningOptions (given: ListeningOptions = {}): ResolvedListeningOptions {
  const problems = new OptionProblems()
  const options = problems.collect('', () => readOptions('listening', listeningSchema, DEFAULTS, given))
  if (typeof given.webSocket === 'object' && Array.isArray(given.webSocket?.origins)) {
    problems.add(...originProblems('webSocket.origins', given.webSocket.origins))
  }
  problems.throwIfAny('listening')
  return options ?? DEFAULTS
}
