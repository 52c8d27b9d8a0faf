import { createConnection } from 'node:net'
import type { Clock } from '../core/context.ts'
import { withDeadline } from '../core/deadline.ts'
import { askDenied, requiredCommands, type CommandCall } from '../stores/bullmq/commands.ts'
import type { IoRedis } from '../stores/bullmq/clients.ts'
import { serverCode } from '../stores/bullmq/errors.ts'
import { infoField } from '../stores/bullmq/server.ts'
import { channels } from '../stores/bullmq/updates.ts'
import { clockFacts, NOT_ASKED, type Answer, type ClockFacts, type ClockSample, type ConnectionFacts, type ConnectionStage, type RedisFacts } from './redis-facts.ts'

const CONNECT_MS = 3_000
const COMMAND_MS = 1_500
/** All questions together; what is not answered by then counts as a timeout. */
const TOTAL_MS = 8_000
const SAMPLES = 7

type Client = InstanceType<IoRedis['Redis']>

export interface RedisTarget {
  /** What ioredis connects with. */
  readonly connection: Readonly<Record<string, unknown>>
  /** It as it may be shown. */
  readonly shown: string
  readonly prefix: string
}

/**
 * Asks a server about itself. Nothing is written: a script asks what the user may do, or, where it cannot, commands are tried
 * inside a transaction that is discarded. Always resolves, in the end with what was learnt until the time was up.
 */
export async function readRedis (ioredis: IoRedis, { connection, shown, prefix }: RedisTarget, clock: Clock, totalMs = TOTAL_MS): Promise<RedisFacts> {
  const facts: { -readonly [K in keyof RedisFacts]: RedisFacts[K] } = {
    target: shown,
    tls: connection['tls'] !== undefined,
    prefix,
    connection: { ok: false, stage: 'connect', code: 'ETIMEDOUT' },
    info: NOT_ASKED,
    settings: NOT_ASKED,
    clock: NOT_ASKED,
    latency: NOT_ASKED,
    cluster: NOT_ASKED,
    refused: NOT_ASKED,
    subscribed: NOT_ASKED
  }
  const client = new ioredis.Redis({
    ...connection,
    sentinelCommandTimeout: COMMAND_MS,
    sentinelRetryStrategy: () => null,
    lazyConnect: true,
    connectTimeout: CONNECT_MS,
    commandTimeout: COMMAND_MS,
    // One try: what goes wrong is what is to be told.
    retryStrategy: () => null,
    maxRetriesPerRequest: 0,
    enableReadyCheck: false,
    autoResubscribe: false,
    disableClientInfo: true
  })
  try {
    const asked = async (): Promise<void> => {
      facts.connection = await connect(client, clock)
      if (facts.connection.ok) await ask(client, prefix, clock, facts)
    }
    await withDeadline(clock, totalMs, asked())
  } finally {
    release(client)
  }
  return facts
}

async function connect (client: Client, clock: Clock): Promise<ConnectionFacts> {
  // The promise of `connect` says only that the connection is closed; its events say why.
  let code: string | undefined
  let stage: ConnectionStage = 'connect'
  client.on('error', (error) => { code ??= serverCode(error) })
  client.on('connect', () => { stage = 'answer' })
  const start = clock.monotonic()
  try {
    await client.connect()
    const connectMs = clock.monotonic() - start
    await ping(client)
    // A database that is not there is told by an event only, and the connection goes on in database 0.
    if (code !== undefined && client.options.db !== 0) return { ok: false, stage, code }
    return { ok: true, connectMs }
  } catch (error) {
    const own = serverCode(error)
    const said = code === undefined || isAnswer(own) ? own : code
    // The client waits for TCP and TLS as one; which of them is missing has to be tried.
    if (client.options.tls !== undefined && stage === 'connect' && /^(ETIMEDOUT|ECONNRESET|not connected)$/.test(said) && await accepts(client, clock)) stage = 'handshake'
    return { ok: false, stage, code: said }
  }
}

/** A server that cannot save refuses even this, and serves all the same whatever does not write. */
async function ping (client: Client): Promise<void> {
  try {
    await client.ping()
  } catch (error) {
    if (serverCode(error) !== 'MISCONF') throw error
  }
}

/** Whether a plain connection comes about. */
async function accepts ({ options: { host = 'localhost', port = 6379 } }: Client, clock: Clock): Promise<boolean> {
  const socket = createConnection({ host, port })
  const opened = new Promise<boolean>((resolve) => {
    socket.once('connect', () => resolve(true))
    socket.once('error', () => resolve(false))
  })
  const answer = await withDeadline(clock, COMMAND_MS, opened)
  socket.destroy()
  return answer === true
}

/** A word of the server, such as NOAUTH, rather than a code of the system. */
function isAnswer (code: string): boolean {
  return /^[A-Z]+$/.test(code) && !/^E[A-Z]{3,}$/.test(code)
}

async function ask (client: Client, prefix: string, clock: Clock, facts: { -readonly [K in keyof RedisFacts]: RedisFacts[K] }): Promise<void> {
  facts.info = await answer(async () => String(await client.info()))
  facts.settings = await answer(async () => ({ ...await setting(client, 'save'), ...await setting(client, 'appendfsync') }))
  facts.clock = await answer(() => readClock(client, clock))
  facts.latency = await answer(() => measureLatency(client, clock))
  if ('value' in facts.info && infoField(facts.info.value, 'cluster_enabled') === '1') {
    facts.cluster = await answer(async () => String(await client.cluster('INFO')))
  }
  const channel = channels(prefix).updates
  facts.refused = await answer(() => tryCommands(client, prefix, channel))
  // Last of all: a connection that listens takes no other commands from older servers.
  facts.subscribed = await answer(async () => {
    await client.subscribe(channel)
    await client.unsubscribe(channel)
    return true as const
  })
}

async function answer<T> (question: () => Promise<T>): Promise<Answer<T>> {
  try {
    return { value: await question() }
  } catch (error) {
    return { code: serverCode(error) }
  }
}

async function setting (client: Client, name: string): Promise<Record<string, string>> {
  const reply: unknown = await client.call('CONFIG', 'GET', name)
  const entries: unknown[] = Array.isArray(reply) ? reply.flat() : Object.entries(Object(reply)).flat()
  return typeof entries[1] === 'string' ? { [name]: entries[1] } : {}
}

async function readClock (client: Client, clock: Clock): Promise<ClockFacts> {
  const samples: ClockSample[] = []
  for (let count = 0; count < SAMPLES; count++) {
    const [sentAtMs, start] = [clock.now(), clock.monotonic()]
    const [seconds, microseconds] = await client.time()
    samples.push({ serverMs: Number(seconds) * 1_000 + Number(microseconds) / 1_000, sentAtMs, roundTripMs: clock.monotonic() - start })
  }
  const facts = clockFacts(samples)
  if (facts === undefined || !Number.isFinite(facts.skewMs)) throw new Error('the server told no time')
  return facts
}

async function measureLatency (client: Client, clock: Clock): Promise<{ medianMs: number, maxMs: number }> {
  const times: number[] = []
  for (let count = 0; count < SAMPLES; count++) {
    const start = clock.monotonic()
    await ping(client)
    times.push(clock.monotonic() - start)
  }
  const sorted = times.toSorted((a, b) => a - b)
  return { medianMs: sorted[SAMPLES >> 1] ?? 0, maxMs: sorted.at(-1) ?? 0 }
}

interface Refused { readonly command: string, readonly code: string }

/** The commands that would not be carried out, because the user may not run them or the server takes no writes. */
async function tryCommands (client: Client, prefix: string, channel: string): Promise<Refused[]> {
  const calls = requiredCommands(prefix, channel)
  let denied: string[] | undefined
  let refusal: string | undefined
  try {
    denied = await askDenied(client, calls)
  } catch (error) {
    refusal = serverCode(error)
  }
  if (denied === undefined) {
    const queued = await queueCommands(client, calls)
    if (queued !== undefined) return queued
    if (refusal === undefined) throw new Error('ERR a server older than 7 is asked inside a transaction, which its user may not begin')
    return ['EVAL', 'EVALSHA'].map((command) => ({ command, code: refusal }))
  }
  // A key that is not there stays so: all that can be refused is that it would be written.
  const code = await client.call('SET', `${prefix}:doctor`, '', 'XX').then(() => undefined, serverCode)
  const refused = denied.map((command) => ({ command, code: 'NOPERM' }))
  return code === undefined || code === 'NOPERM' ? refused : [...refused, { command: 'SET', code }]
}

/** What the server does not queue it would not carry out either. @returns `undefined` when there can be no transaction */
async function queueCommands (client: Client, calls: readonly CommandCall[]): Promise<Refused[] | undefined> {
  const refused: Refused[] = []
  try {
    await client.call('MULTI')
  } catch {
    // Outside a transaction the commands would be carried out.
    return undefined
  }
  // All at once: one slow round trip must not become fifty.
  await Promise.all(calls.map(async ([command, ...args]) => {
    try {
      await client.call(command, ...args)
    } catch (error) {
      refused.push({ command, code: serverCode(error) })
    }
  }))
  // Outside of a transaction EXEC does nothing but say so.
  for (const command of ['DISCARD', 'EXEC']) {
    try {
      await client.call(command)
    } catch (error) {
      const code = serverCode(error)
      if (code !== 'ERR') refused.push({ command, code })
    }
  }
  return refused
}

/** Lets go of the connection, also when the server never closes its half. */
function release (client: Client): void {
  client.disconnect()
  const socket: unknown = Reflect.get(client, 'stream')
  const destroy: unknown = typeof socket === 'object' && socket !== null ? Reflect.get(socket, 'destroy') : undefined
  if (typeof destroy === 'function') Reflect.apply(destroy, socket, [])
}
