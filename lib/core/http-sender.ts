/**
 * Sends every HTTP request that leaves this process: webhooks, alerts, metrics for push targets. The policy decides
 * where a request may go. No redirect is followed, and neither a slow nor an endless answer holds anything for long.
 */
import {
  Agent as HttpAgent, request as httpRequest,
  type Agent, type AgentOptions, type ClientRequest, type IncomingMessage, type RequestOptions
} from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { connect, type LookupFunction, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Clock } from './context.ts'
import type { ResolvedOutboundPolicy } from './outbound-policy.ts'
import {
  assertPublicPeer, assertPublicUrl, checkedLookup, refusalOf, URL_REFUSALS, type ResolveHost, type UrlRefusal
} from './public-address.ts'

/** What went wrong, without the URL, its credentials and the headers: all may hold secrets. */
export class DeliveryError extends Error {
  /**
   * `HTTP_503`, `ECONNREFUSED`, `ETIMEDOUT`, …; `FAE_URL_REFUSED` where the policy forbids the receiver; `ENETWORK`
   * where the system gave no code.
   */
  readonly code: string
  /** Whether another attempt makes sense. */
  readonly passing: boolean
  readonly retryAfterMs: number | undefined
  /** Why the policy forbids the receiver; `unresolvable` also goes with a code of the system, and is passing. */
  readonly reason: UrlRefusal | undefined

  constructor (code: string, message: string, passing: boolean, retryAfterMs?: number, reason?: UrlRefusal) {
    super(message)
    this.name = 'DeliveryError'
    this.code = code
    this.passing = passing
    this.retryAfterMs = retryAfterMs
    this.reason = reason
  }
}

export interface HttpMessage {
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | Uint8Array<ArrayBuffer>
}

export interface SendOptions extends HttpMessage {
  readonly url: string
  /** `OPTIONS` asks a receiver whether it wants messages. @defaultValue 'POST' */
  readonly method?: 'POST' | 'OPTIONS' | undefined
  /**
   * The deadline of the whole attempt, in milliseconds: of the lookup, the connection, the request and the answer.
   * @defaultValue 15000
   */
  readonly timeoutMs?: number | undefined
  /** Ends the attempt. */
  readonly signal: AbortSignal
  /** How errors call the receiver. @defaultValue 'the receiver' */
  readonly receiver?: string | undefined
}

/** Headers of an answer that a sender may act on. No other part of an answer is kept. */
const KEPT_HEADERS = ['retry-after', 'webhook-delivery', 'webhook-allowed-origin', 'webhook-allowed-rate'] as const

export interface HttpAnswer {
  readonly status: number
  /** Those that are printable ASCII and at most 256 characters long. */
  readonly headers: Readonly<Partial<Record<typeof KEPT_HEADERS[number], string>>>
}

export interface HttpSenderParts {
  readonly clock: Clock
  readonly policy: ResolvedOutboundPolicy
  /** Whether connections are kept for the next message. @defaultValue true */
  readonly keepAlive?: boolean | undefined
  /** @defaultValue the resolver of the system */
  readonly resolve?: ResolveHost | undefined
  /** Certificate authorities, in PEM, in place of the well-known ones. @defaultValue those of Node.js */
  readonly ca?: string | undefined
}

const DEFAULT_TIMEOUT_MS = 15_000
const MAX_ANSWER_BYTES = 65_536
const MAX_HEADER_BYTES = 16_384
const IDLE_CONNECTION_MS = 30_000
const IDLE_CONNECTIONS_PER_ORIGIN = 2
const NETWORK_CODE = /^[A-Z][A-Z0-9_]{1,40}$/
const PLAIN_VALUE = /^[\x20-\x7e]{1,256}$/
/** Headers by which a message is framed; the sender writes them. */
const FRAMING = /^(connection|content-length|expect|keep-alive|proxy-connection|te|trailer|transfer-encoding|upgrade)$/i

/** One for each target, or one for many. It keeps connections open, so that its owner must close it. */
export class HttpSender {
  readonly #clock: Clock
  readonly #policy: ResolvedOutboundPolicy
  readonly #http: Agent
  readonly #https: Agent
  /** Ends the attempts that are under way. */
  readonly #underway = new Set<() => void>()
  #closed = false

  constructor ({ clock, policy, keepAlive = true, resolve, ca }: HttpSenderParts) {
    this.#clock = clock
    this.#policy = policy
    const settings = { keepAlive, timeout: IDLE_CONNECTION_MS, maxFreeSockets: IDLE_CONNECTIONS_PER_ORIGIN }
    const lookup = checkedLookup(policy, resolve)
    this.#http = policy.agent ?? new CheckedHttpAgent(settings, policy, lookup)
    const trust = ca === undefined ? {} : { ca }
    this.#https = policy.agent ?? new CheckedHttpsAgent({ ...settings, ...trust }, policy, lookup)
  }

  /**
   * One attempt. Every status is an answer, also 3xx and 5xx.
   *
   * @throws {DeliveryError} there was no answer
   */
  async sendOnce (options: SendOptions): Promise<HttpAnswer> {
    const { signal, timeoutMs = DEFAULT_TIMEOUT_MS, receiver = 'the receiver' } = options
    if (this.#closed) throw new DeliveryError('FAE_CLOSED', `nothing more is sent to ${receiver}`, false)
    const attempt = new AbortController()
    const end = (): void => { attempt.abort() }
    const timer = this.#clock.setTimeout(end, Math.max(0, timeoutMs))
    signal.addEventListener('abort', end, { once: true })
    this.#underway.add(end)
    try {
      if (signal.aborted) end()
      return await this.#send(assertPublicUrl(options.url, this.#policy), options, attempt.signal)
    } catch (error) {
      if (!attempt.signal.aborted) throw deliveryError(error, receiver)
      throw new DeliveryError('ETIMEDOUT', `${receiver} did not answer in time`, true)
    } finally {
      this.#clock.clearTimeout(timer)
      signal.removeEventListener('abort', end)
      this.#underway.delete(end)
    }
  }

  /** Closes every connection, and ends the attempts under way. */
  close (): void {
    this.#closed = true
    for (const end of this.#underway) end()
    // The application's own agent may serve others too.
    if (this.#policy.agent !== undefined) return
    this.#http.destroy()
    this.#https.destroy()
  }

  async #send (url: URL, options: SendOptions, signal: AbortSignal): Promise<HttpAnswer> {
    for (;;) {
      const request = this.#request(url, options, signal)
      try {
        return await answerTo(request, options.body, signal)
      } catch (error) {
        // The receiver closed a kept connection just as it was used again. The next one, or a new one, may work.
        if (!request.reusedSocket || !CLOSED.has(codeOf(error)) || signal.aborted) throw error
      }
    }
  }

  #request (url: URL, { method = 'POST', headers }: SendOptions, signal: AbortSignal): ClientRequest {
    const isHttps = url.protocol === 'https:'
    const settings: AttemptOptions = {
      method,
      headers: { 'user-agent': 'fastify-async-endpoints', ...Object.fromEntries(new Headers(headers)) },
      agent: isHttps ? this.#https : this.#http,
      maxHeaderSize: MAX_HEADER_BYTES,
      [ATTEMPT]: signal
    }
    return isHttps ? httpsRequest(url, settings) : httpRequest(url, settings)
  }
}

const CLOSED: ReadonlySet<string> = new Set(['ECONNRESET', 'EPIPE'])

/** Under this key, the options of a request carry the signal of its attempt to the agent. */
const ATTEMPT = Symbol('attempt')

interface AttemptOptions extends RequestOptions { readonly [ATTEMPT]: AbortSignal }

type Connected = (error: Error | null, stream: Duplex) => void

class CheckedHttpAgent extends HttpAgent {
  readonly #policy: ResolvedOutboundPolicy
  readonly #lookup: LookupFunction

  constructor (options: AgentOptions, policy: ResolvedOutboundPolicy, lookup: LookupFunction) {
    super(options)
    this.#policy = policy
    this.#lookup = lookup
  }

  override createConnection (options: RequestOptions, connected?: Connected): undefined {
    connectChecked(options, this.#policy, this.#lookup, (socket) => socket, connected)
  }
}

class CheckedHttpsAgent extends HttpsAgent {
  readonly #policy: ResolvedOutboundPolicy
  readonly #lookup: LookupFunction

  constructor (options: AgentOptions & { ca?: string }, policy: ResolvedOutboundPolicy, lookup: LookupFunction) {
    super(options)
    this.#policy = policy
    this.#lookup = lookup
  }

  override createConnection (options: RequestOptions, connected?: Connected): undefined {
    const secured = (socket: Socket): Duplex => {
      const secure = { ...options, socket }
      // The secured stream reports what goes wrong.
      socket.on('error', () => {})
      return super.createConnection(secure) ?? socket.destroy()
    }
    connectChecked(options, this.#policy, this.#lookup, secured, connected)
  }
}

/** Checks the address before the agent gets the connection. Until then nothing is written, not even for TLS. */
function connectChecked (
  options: RequestOptions, policy: ResolvedOutboundPolicy, lookup: LookupFunction, finish: (socket: Socket) => Duplex,
  connected: Connected = () => {}
): void {
  const socket = connect({ host: options.host ?? '', port: Number(options.port), lookup, noDelay: true })
  const signal: unknown = Reflect.get(options, ATTEMPT)
  // Without this, a connection that is never answered would outlive its attempt.
  const end = (): void => { socket.destroy(new Error('aborted')) }
  const failed = (error: Error): void => {
    ignoreAbort()
    connected(error, socket)
  }
  const ignoreAbort = (): void => { if (signal instanceof AbortSignal) signal.removeEventListener('abort', end) }
  if (signal instanceof AbortSignal) {
    signal.addEventListener('abort', end, { once: true })
    if (signal.aborted) end()
  }
  socket.once('error', failed)
  socket.once('connect', () => {
    ignoreAbort()
    try {
      assertPublicPeer(socket.remoteAddress, policy)
      const stream = finish(socket)
      socket.removeListener('error', failed)
      connected(null, stream)
    } catch (error) {
      socket.destroy(error instanceof Error ? error : undefined)
    }
  })
}

/** Resolves once the answer has ended, or is cut off: its status and headers count in any case. */
function answerTo (request: ClientRequest, body: HttpMessage['body'], signal: AbortSignal): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    let answer: HttpAnswer | undefined
    const settle = (error: Error): void => {
      signal.removeEventListener('abort', abort)
      if (answer === undefined) reject(error)
      else resolve(answer)
    }
    const abort = (): void => {
      const error = new Error('aborted')
      // A request that has no connection yet would emit nothing.
      settle(error)
      request.destroy(error)
    }
    request.on('error', settle)
    request.on('close', () => { settle(Object.assign(new Error('closed'), { code: 'ECONNRESET' })) })
    request.on('response', (response) => {
      answer = read(response)
      let bytes = 0
      response.on('data', (chunk: Buffer) => { if ((bytes += chunk.length) > MAX_ANSWER_BYTES) request.destroy() })
      response.on('error', settle)
    })
    signal.addEventListener('abort', abort, { once: true })
    if (signal.aborted) abort()
    else request.end(body)
  })
}

function read ({ statusCode = 0, headers }: IncomingMessage): HttpAnswer {
  const kept = KEPT_HEADERS.flatMap((name) => {
    const value = headers[name]
    return typeof value === 'string' && PLAIN_VALUE.test(value) ? [[name, value] as const] : []
  })
  return { status: statusCode, headers: Object.fromEntries(kept) }
}

function deliveryError (error: unknown, receiver: string): DeliveryError {
  const reason = refusalOf(error)
  if (reason === undefined) return new DeliveryError(codeOf(error), `${receiver} could not be reached`, true)
  if (reason === 'unresolvable') {
    const cause: unknown = error instanceof Error ? error.cause : undefined
    return new DeliveryError(codeOf(cause), `${receiver} could not be reached`, true, undefined, reason)
  }
  const message = `${receiver} is not called: ${URL_REFUSALS[reason]}`
  return new DeliveryError('FAE_URL_REFUSED', message, false, undefined, reason)
}

function codeOf (error: unknown): string {
  const code: unknown = typeof error === 'object' && error !== null ? Reflect.get(error, 'code') : undefined
  return typeof code === 'string' && NETWORK_CODE.test(code) ? code : 'ENETWORK'
}

/** The names of headers that cannot be sent: not valid, or written by the sender itself. */
export function unsendableHeaders (headers: Readonly<Record<string, string>>): string[] {
  const unsendable = Object.entries(headers).filter(([name, value]) => FRAMING.test(name) || !isHeader(name, value))
  return unsendable.map(([name]) => name)
}

function isHeader (name: string, value: string): boolean {
  try {
    return new Headers({ [name]: value }) !== undefined
  } catch {
    return false
  }
}
