import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { systemClock, type Clock } from '../../lib/core/context.ts'
import { deliver, DeliveryPace, type DeliveryOptions } from '../../lib/core/http-delivery.ts'
import { HttpSender, type DeliveryError } from '../../lib/core/http-sender.ts'
import { operatorPolicy } from '../../lib/core/outbound-policy.ts'

const TIMEOUT_MS = 60_000

/** Waits take no time, and are written down; the deadline of an attempt is real. */
const pauses: number[] = []
const clock: Clock = {
  ...systemClock,
  setTimeout: (callback, delayMs) => {
    if (delayMs < TIMEOUT_MS) pauses.push(delayMs)
    return systemClock.setTimeout(callback, delayMs < TIMEOUT_MS ? 0 : delayMs)
  }
}

let requests = 0
let answer: (response: ServerResponse, request: number) => void = () => {}
const server = createServer((request, response) => { request.resume().on('end', () => { answer(response, ++requests) }) })
await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
t.teardown(() => { server.closeAllConnections(); server.close() })
const sender = new HttpSender({ clock: systemClock, policy: operatorPolicy(true) })
t.teardown(() => { sender.close() })
t.beforeEach(() => { requests = pauses.length = 0 })

function send (options: Partial<DeliveryOptions> = {}): Promise<DeliveryError | undefined> {
  return deliver({
    clock,
    sender,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    receiver: 'the receiver',
    timeoutMs: TIMEOUT_MS,
    attempts: 4,
    pace: new DeliveryPace(clock, 1_500, () => 1),
    signal: new AbortController().signal,
    message: () => ({ headers: { 'content-type': 'text/plain' }, body: 'hello' }),
    ...options
  })
}

t.test('passing failures are repeated with backoff, up to its longest', async (t) => {
  answer = (response, request) => { response.writeHead(request < 4 ? 503 : 204).end() }
  t.equal(await send(), undefined)
  t.same([requests, pauses], [4, [500, 1_000, 1_500]])
  answer = (response) => { response.writeHead(500).end() }
  t.match(await send({ attempts: 2 }), { code: 'HTTP_500', passing: true, message: 'the receiver answered 500' })
  t.equal(requests, 6)
})

t.test('Retry-After is respected where it asks for more, also from one message to the next', async (t) => {
  const pace = new DeliveryPace(clock, 1_500, () => 1)
  answer = (response, request) => { response.writeHead(request === 1 ? 429 : 200, { 'retry-after': '30' }).end() }
  t.equal(await send({ pace }), undefined)
  t.same(pauses, [30_000])
  t.ok(pace.askedMs > 0, 'whoever sends the next message can wait for as long')
  answer = (response, request) => { response.writeHead(request === 3 ? 503 : 200, { 'retry-after': '0' }).end() }
  t.equal(await send({ pace: new DeliveryPace(clock, 1_500, () => 0) }), undefined)
  t.same(pauses.slice(1), [250], 'and no less than the backoff')
})

t.test('the backoff grows over messages, and begins again after a delivery', async (t) => {
  const pace = new DeliveryPace(clock, 60_000, () => 1)
  answer = (response) => { response.writeHead(503).end() }
  await send({ pace, attempts: 2 })
  await send({ pace, attempts: 2 })
  t.same(pauses, [500, 2_000])
  pace.delivered()
  await send({ pace, attempts: 2 })
  t.same(pauses.slice(2), [500])
})

t.test('what is refused for good is not repeated, and a redirect is not followed', async (t) => {
  for (const status of [400, 401, 404, 307]) {
    requests = 0
    answer = (response) => { response.writeHead(status, { location: '/elsewhere' }).end() }
    t.match(await send(), { code: `HTTP_${status}`, passing: false })
    t.equal(requests, 1)
  }
})

t.test('a deadline for each attempt; an abort ends everything', async (t) => {
  answer = () => {}
  t.match(await send({ clock: systemClock, timeoutMs: 50, attempts: 1 }), { code: 'ETIMEDOUT', message: 'the receiver did not answer in time' })
  const abort = new AbortController()
  answer = () => { abort.abort() }
  t.match(await send({ signal: abort.signal }), { code: 'ETIMEDOUT' })
  t.equal(requests, 2, 'no attempt after it')
})

t.test('the caller may end it before any attempt', async (t) => {
  answer = (response) => { response.writeHead(503).end() }
  const asked: number[] = []
  t.match(await send({ mayTry: (attempt) => asked.push(attempt) < 3 }), { code: 'HTTP_503' })
  t.same([asked, requests], [[1, 2, 3], 2])
  t.match(await send({ mayTry: () => false }), { code: 'FAE_CLOSED', passing: false })
  t.equal(requests, 2)
})

t.test('a receiver that is not public: the error names the option', async (t) => {
  const strict = new HttpSender({
    clock: systemClock, policy: operatorPolicy(false), resolve: (_, callback) => { callback(null, [{ address: '10.0.0.1', family: 4 }]) }
  })
  t.match(await send({ sender: strict, url: 'http://metrics.example.com/' }), {
    code: 'FAE_URL_REFUSED',
    passing: false,
    message: 'the receiver is not called: its host has an address that is not public; if it is in a private network, set allowPrivate'
  })
  t.same([requests, pauses], [0, []], 'and it is not tried again at once')
  strict.close()
})

t.test('neither the URL nor a header is in an error', async (t) => {
  const error = await send({ url: 'http://127.0.0.1:1/hunter2', attempts: 1, message: () => ({ headers: { authorization: 'hunter2' }, body: '' }) })
  t.match(error, { message: 'the receiver could not be reached', passing: true })
  t.notMatch(JSON.stringify([error, error?.message, error?.stack]), 'hunter2')
})
