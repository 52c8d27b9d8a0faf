import { createConnection } from 'node:net'
import type { Clock } from '../core/context.ts'
import { withDeadline } from '../core/deadline.ts'
import { askDenied, requiredCommands, shardedCalls, withoutSharded, type CommandCall } from '../stores/bullmq/commands.ts'
import type { IoRedis } from '../stores/bullmq/clients.ts'
import { serverCode } from '../stores/bullmq/errors.ts'
import { infoField } from '../stores/bullmq/server.ts'
import type { RedisTarget } from '../stores/bullmq/targets.ts'
import { controlChannel } from '../stores/bullmq/updates.ts'
import {
  clockFacts, NOT_ASKED, type Answer, type ClockFacts, type ClockSample, type ConnectionFacts, type ConnectionStage,
  type RedisFacts
} from './redis-facts.ts'

const CONNECT_MS = 3_000
const COMMAND_MS = 1_500
/** The limit for all questions together. A question without an answer by then counts as timed out. */
const TOTAL_MS = 8_000
const SAMPLES = 7

type Client = InstanceType<IoRedis['Redis']>

/** The server to look at. */
export interface ShownTarget extends Pick<RedisTarget, 'connection' | 'prefix'> {
  /** The server as reports show it, without secrets. */
  readonly shown: string
}

/**
 * Reads facts about a server without writing to it. A script asks which commands the user may run; where scripts
 * cannot ask, commands are tried inside a transaction that is discarded. Always resolves; when the time is up, with
 * the facts read so far.
 */
export async function readRedis (ioredis: IoRedis, { connection, shown, prefix }: ShownTarget, clock: Clock, totalMs = TOTAL_MS): Promise<RedisFacts> {
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
    // One attempt: the doctor reports what goes wrong instead of retrying.
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
  // The rejection of `connect` says only that the connection is closed. The reason comes as an event.
  let code: string | undefined
  let stage: ConnectionStage = 'connect'
  client.on('error', (error) => { code ??= serverCode(error) })
  client.on('connect', () => { stage = 'answer' })
  const start = clock.monotonic()
  try {
    await client.connect()
    const connectMs = clock.monotonic() - start
    await ping(client)
    // ioredis reports a missing database only by an event, and the connection stays on database 0.
    if (code !== undefined && client.options.db !== 0) return { ok: false, stage, code }
    return { ok: true, connectMs }
  } catch (error) {
    const own = serverCode(error)
    const said = code === undefined || isAnswer(own) ? own : code
    // ioredis waits for TCP and TLS together. A plain connection shows which of the two failed.
    if (client.options.tls !== undefined && stage === 'connect' && /^(ETIMEDOUT|ECONNRESET|not connected)$/.test(said) && await accepts(client, clock)) stage = 'handshake'
    return { ok: false, stage, code: said }
  }
}

/** A server that cannot save to disk refuses even PING (MISCONF), but still answers commands that read. */
async function ping (client: Client): Promise<void> {
  try {
    await client.ping()
  } catch (error) {
    if (serverCode(error) !== 'MISCONF') throw error
  }
}

/** Whether the server accepts a plain TCP connection. */
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

/** Whether a code is an answer of the server, such as NOAUTH, and not a code of the operating system. */
function isAnswer (code: string): boolean {
  return /^[A-Z]+$/.test(code) && !/^E[A-Z]{3,}$/.test(code)
}

async function ask (
  client: Client, prefix: string, clock: Clock, facts: { -readonly [K in keyof RedisFacts]: RedisFacts[K] }
): Promise<void> {
  facts.info = await answer(async () => String(await client.info()))
  facts.settings = await answer(async () => ({ ...await setting(client, 'save'), ...await setting(client, 'appendfsync') }))
  facts.clock = await answer(() => readClock(client, clock))
  facts.latency = await answer(() => measureLatency(client, clock))
  if ('value' in facts.info && infoField(facts.info.value, 'cluster_enabled') === '1') {
    facts.cluster = await answer(async () => String(await client.cluster('INFO')))
  }
  const channel = controlChannel(prefix)
  facts.refused = await answer(() => tryCommands(client, prefix, channel))
  const onCluster = 'value' in facts.cluster
  // Last, because on older servers a subscribed connection takes no other commands.
  facts.subscribed = await answer(async () => {
    const denied = onCluster ? await askDenied(client, shardedCalls(channel)) : []
    if (denied !== undefined && withoutSharded(denied).length > 0) throw new Error('NOPERM')
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
  if (facts === undefined || !Number.isFinite(facts.skewMs)) throw new Error('the server did not return its time')
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

/** The commands that would fail, because the user may not run them or the server takes no writes. */
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
    if (refusal === undefined) throw new Error('ERR a server older than 7 can only be asked inside a transaction, and the user may not begin one')
    return ['EVAL', 'EVALSHA'].map((command) => ({ command, code: refusal }))
  }
  // With XX a missing key is not created. Only a server that takes no writes refuses the command.
  const code = await client.call('SET', `${prefix}:doctor`, '', 'XX').then(() => undefined, serverCode)
  const refused = denied.map((command) => ({ command, code: 'NOPERM' }))
  return code === undefined || code === 'NOPERM' ? refused : [...refused, { command: 'SET', code }]
}

/**
 * Commands that the server does not queue in a transaction, it would not run either. @returns `undefined` if the user
 * may not begin one
 */
async function queueCommands (client: Client, calls: readonly CommandCall[]): Promise<Refused[] | undefined> {
  const refused: Refused[] = []
  try {
    await client.call('MULTI')
  } catch {
    // Outside a transaction the commands would really run.
    return undefined
  }
  // All at the same time: one slow round trip must not become fifty.
  await Promise.all(calls.map(async ([command, ...args]) => {
    try {
      await client.call(command, ...args)
    } catch (error) {
      refused.push({ command, code: serverCode(error) })
    }
  }))
  // If DISCARD failed, EXEC ends the transaction; outside of one it only returns an error.
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

/** Closes the connection, even if the server never closes its side. */
function release (client: Client): void {
  client.disconnect()
  const socket: unknown = Reflect.get(client, 'stream')
  const destroy: unknown = typeof socket === 'object' && socket !== null ? Reflect.get(socket, 'destroy') : undefined
  if (typeof destroy === 'function') Reflect.apply(destroy, socket, [])
}
