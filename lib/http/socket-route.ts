/** `GET /jobs/socket`: the WebSocket on which a client listens to its jobs. */
import { EventEmitter } from 'node:events'
import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import { AllowedOrigins } from '../channels/allowed-origins.ts'
import { MAX_MESSAGE_BYTES, SOCKET_PROTOCOL, type WantedJob } from '../channels/socket-messages.ts'
import type { WebSocketOptions } from '../channels/options.ts'
import { SocketSession, type ReadableJob, type Socket } from '../channels/socket-session.ts'
import { AsyncEndpointsError } from '../core/errors.ts'
import { invalidOptions } from '../core/options.ts'
import { described } from './described-route.ts'
import { findAllowed, NEVER_SHED } from './find-job.ts'
import { hiddenSig } from './hidden-sig.ts'
import { clientOfRequest, correlationHook, problemHandler, type HttpRuntime } from './http-runtime.ts'
import { ownCompilers } from './own-compilers.ts'
import { describeError } from './problem.ts'
import { emptyResponse, problemResponse } from './schemas.ts'
import { documentOnChannel } from './shown-job.ts'
import { passUpgrades } from './socket-upgrade.ts'

/**
 * Adds the route. An `@fastify/websocket` that the application has registered is used; otherwise it is registered here,
 * for this route only.
 *
 * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS`: `@fastify/websocket` is not installed
 */
export async function addSocketRoute (app: FastifyInstance, http: HttpRuntime, options: WebSocketOptions): Promise<void> {
  const sockets = new SocketRoute(http, options)
  if (app.hasDecorator('injectWS')) return sockets.addTo(app)
  const plugin = await websocketPlugin()
  await app.register(async (inner) => {
    const entry = new EventEmitter()
    const path = inner.prefix + http.options.path + '/socket'
    const stop = passUpgrades(inner.server, entry, ({ url = '' }) => url === path || url.startsWith(`${path}?`))
    inner.addHook('preClose', async () => { stop() })
    await inner.register(plugin, {
      // What breaks the protocol is the client's fault, and closed by `ws`: nothing to log as an error.
      errorHandler: (error, _, request) => { request.log.debug({ err: error }, 'a WebSocket broke the protocol') },
      options: {
        server: entry,
        maxPayload: MAX_MESSAGE_BYTES,
        perMessageDeflate: false,
        // Picks the subprotocol, whichever others the client offers.
        handleProtocols: () => SOCKET_PROTOCOL
      }
    })
    sockets.addTo(inner)
  })
}

/** The options of @fastify/websocket that are used; its own types would be needed by everybody who has it not. */
interface WebsocketOptions {
  readonly errorHandler: (error: Error, socket: unknown, request: FastifyRequest) => void
  readonly options: {
    readonly server: EventEmitter
    readonly maxPayload: number
    readonly perMessageDeflate: boolean
    readonly handleProtocols: () => string
  }
}

async function websocketPlugin (): Promise<FastifyPluginAsync<WebsocketOptions>> {
  try {
    const { default: plugin } = await import('@fastify/websocket')
    return plugin as unknown as FastifyPluginAsync<WebsocketOptions>
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'ERR_MODULE_NOT_FOUND') throw error
    throw invalidOptions('listening', ['webSocket needs a package that is not installed: npm install @fastify/websocket'])
  }
}

class SocketRoute {
  readonly #http: HttpRuntime
  readonly #origins: AllowedOrigins
  /** What was found out before the upgrade. @fastify/websocket gives its handler no reply, which response factories need. */
  readonly #admitted = new WeakMap<FastifyRequest, { readonly reply: FastifyReply, readonly client: string }>()

  constructor (http: HttpRuntime, options: WebSocketOptions) {
    this.#http = http
    this.#origins = new AllowedOrigins(options.origins)
  }

  addTo (app: FastifyInstance): void {
    const http = this.#http
    const route: RouteOptions & { readonly wsHandler: (socket: Socket, request: FastifyRequest) => void } = {
      method: 'GET',
      url: `${http.options.path}/socket`,
      exposeHeadRoute: false,
      schema: described(app, http, 'openJobSocket', {
        summary: `Listen to several jobs on a WebSocket with the subprotocol \`${SOCKET_PROTOCOL}\``,
        params: { type: 'object', properties: {} },
        response: {
          101: emptyResponse('The connection is a WebSocket from now on'),
          400: problemResponse('The subprotocol is not offered'),
          403: problemResponse('The page is of an origin that is not allowed'),
          426: problemResponse('The request does not ask for a WebSocket'),
          429: problemResponse('The client, or the server, has too many streams and sockets'),
          503: problemResponse('The server is shutting down')
        }
      }),
      ...ownCompilers,
      ...hiddenSig(app, http),
      config: { asyncEndpoints: { kind: 'socket' }, ...NEVER_SHED, otel: false },
      onRequest: correlationHook(http),
      // Never later: when the handler runs, the client has already been answered with 101.
      preValidation: (request, reply) => this.#admit(request, reply),
      errorHandler: problemHandler(http, http.options.responses, undefined),
      handler: async (_, reply) => {
        // RFC 9110 §15.5.22 and §7.8
        reply.header('upgrade', 'websocket').header('connection', 'upgrade')
        throw new AsyncEndpointsError('FAE_UPGRADE_REQUIRED', `Open a WebSocket here, with the subprotocol ${SOCKET_PROTOCOL}`)
      },
      wsHandler: (socket, request) => { this.#accept(socket, request) }
    }
    app.route(route)
  }

  async #admit (request: FastifyRequest, reply: FastifyReply): Promise<void> {
    // The `ws` of @fastify/websocket. A plain request is answered by the handler.
    if (Reflect.get(request, 'ws') !== true) return
    if (!this.#origins.allow(request)) {
      throw new AsyncEndpointsError('FAE_FORBIDDEN', 'A page of this origin may not open a WebSocket here')
    }
    const { headers } = request.raw
    const offered = headers['sec-websocket-protocol']?.split(',').map((name) => name.trim()) ?? []
    if (!offered.includes(SOCKET_PROTOCOL)) {
      throw new AsyncEndpointsError('FAE_INVALID_REQUEST', `Offer the subprotocol ${SOCKET_PROTOCOL} in Sec-WebSocket-Protocol`)
    }
    // Without an option of the application, `ws` would answer with the first subprotocol that the client offers.
    headers['sec-websocket-protocol'] = SOCKET_PROTOCOL
    const viewer = await this.#http.ownership.ask(request)
    // With links, a client that nobody knows may have the link of a job: each subscription says.
    if (this.#http.signer === undefined) viewer.throwIfRefused()
    const client = await clientOfRequest(this.#http, request)
    this.#throwIfFull(client)
    this.#admitted.set(request, { reply, client })
  }

  #throwIfFull (client: string): void {
    const refusal = this.#http.channels.refusal(client)
    if (refusal === 'limit') throw new AsyncEndpointsError('FAE_TOO_MANY_CHANNELS', 'This client has too many streams and sockets: listen to several jobs on one')
    if (refusal !== undefined) throw new AsyncEndpointsError('FAE_CLOSED', 'The server is shutting down')
  }

  #accept (socket: Socket, request: FastifyRequest): void {
    const admitted = this.#admitted.get(request)
    if (admitted === undefined) return socket.terminate()
    const { reply, client } = admitted
    const http = this.#http
    const session: SocketSession = new SocketSession({
      socket,
      clock: http.runtime.context.clock,
      backbone: http.backbone,
      maxAgeMs: http.listening.maxAgeMs * (0.8 + Math.random() * 0.4),
      find: (jobs) => this.#find(jobs, request),
      show: (job) => documentOnChannel(http, job, request, reply),
      describe: (error) => this.#describe(error, request, reply),
      failed: (error) => { request.log.error(http.runtime.redaction.fields({ err: error }), 'a job could not be shown on a WebSocket') },
      closed: (end) => { http.channels.delete(session, end) }
    })
    http.channels.add(session, client)
  }

  #describe (error: unknown, request: FastifyRequest, reply: FastifyReply): object {
    const { problem, code, retryAfterSeconds } = describeError(error, request, reply)
    if (problem.status >= 500) {
      const { redaction } = this.#http.runtime
      request.log[code === undefined ? 'error' : 'warn'](redaction.fields({ err: error }), 'a subscription failed')
    }
    return { problem, retryAfterSeconds }
  }

  async #find (jobs: readonly WantedJob[], request: FastifyRequest): Promise<ReadonlyArray<ReadableJob | undefined>> {
    return await findAllowed(this.#http, request, 'read', jobs)
  }
}
