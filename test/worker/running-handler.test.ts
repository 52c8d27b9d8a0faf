import t from 'tap'
import { FakeClock } from '../../lib/testing/fake-clock.ts'
import { abortError, type AbortReason } from '../../lib/worker/abort.ts'
import { assertHandlerTransition, HANDLER_TRANSITIONS, RunningHandler, type HandlerEnd, type HandlerState } from '../../lib/worker/running-handler.ts'

const STATES = Object.keys(HANDLER_TRANSITIONS) as HandlerState[]
const TIMEOUT_MS = 1_000
const GRACE_MS = 200

const ALLOWED = new Set([
  'ready>running', 'ready>skipped',
  'running>stopping', 'running>ended',
  'stopping>ended', 'stopping>abandoned',
  'abandoned>ended-late'
])

/** A handler that a test plays, and what was reported about it. */
class Played {
  readonly clock = new FakeClock()
  readonly reports: string[] = []
  readonly handler: RunningHandler
  calls = 0
  end: HandlerEnd | undefined
  return: (value: unknown) => void = () => {}
  throw: (error: unknown) => void = () => {}

  constructor () {
    this.handler = new RunningHandler<AbortReason>(this.clock, {
      handlerTimedOut: () => { this.reports.push('timed out') },
      handlerEnded: (end, durationMs) => { this.reports.push(`${end.kind} after ${durationMs}`) },
      handlerEndedLate: (lateMs) => { this.reports.push(`late by ${lateMs}`) }
    }, abortError)
  }

  async run (timeoutMs = TIMEOUT_MS): Promise<this> {
    void this.handler.run({ timeoutMs, graceMs: GRACE_MS }, () => {
      this.calls++
      return new Promise((resolve, reject) => {
        this.return = resolve
        this.throw = reject
      })
    }).then((end) => { this.end = end })
    await this.settle()
    return this
  }

  async settle (): Promise<void> { await this.clock.advance(0) }
}

/** One handler in each state that it can be in. */
const REACH: Readonly<Record<HandlerState, () => Promise<Played>>> = {
  ready: async () => new Played(),
  skipped: async () => { const played = new Played(); played.handler.abort('shutdown'); return await played.run() },
  running: async () => await new Played().run(),
  stopping: async () => { const played = await REACH.running(); played.handler.abort('cancelled'); return played },
  ended: async () => { const played = await REACH.running(); played.return('value'); await played.settle(); return played },
  abandoned: async () => { const played = await REACH.stopping(); await played.clock.advance(GRACE_MS); return played },
  'ended-late': async () => { const played = await REACH.abandoned(); played.return('value'); await played.settle(); return played }
}

/** Everything that can happen to a handler. */
const HAPPENINGS: Readonly<Record<string, (played: Played) => Promise<unknown>>> = {
  run: (played) => played.run(),
  abort: async (played) => { played.handler.abort('cancelled') },
  returns: async (played) => { played.return('value'); await played.settle() },
  throws: async (played) => { played.throw(new Error('no')); await played.settle() },
  timeout: (played) => played.clock.advance(TIMEOUT_MS),
  'end of the grace': (played) => played.clock.advance(GRACE_MS)
}

/** Where each happening leads; what is not named changes nothing. */
const LEADS: Readonly<Record<HandlerState, Readonly<Record<string, HandlerState | 'refused'>>>> = {
  ready: { run: 'running' },
  running: { run: 'refused', abort: 'stopping', returns: 'ended', throws: 'ended', timeout: 'stopping' },
  stopping: { run: 'refused', returns: 'ended', throws: 'ended', 'end of the grace': 'abandoned', timeout: 'abandoned' },
  abandoned: { run: 'refused', returns: 'ended-late', throws: 'ended-late' },
  skipped: { run: 'refused' },
  ended: { run: 'refused' },
  'ended-late': { run: 'refused' }
}

t.test('every pair of states is allowed or refused as agreed', async (t) => {
  for (const from of STATES) {
    for (const to of STATES) {
      if (ALLOWED.has(`${from}>${to}`)) t.doesNotThrow(() => assertHandlerTransition(from, to))
      else t.throws(() => assertHandlerTransition(from, to), { code: 'FAE_ILLEGAL_TRANSITION', message: `A handler that is ${from} cannot become ${to}` })
    }
  }
})

t.test('whatever happens in whatever state leads where it should, and a handler is called once', async (t) => {
  const seen = new Set<string>()
  for (const from of STATES) {
    for (const [name, happen] of Object.entries(HAPPENINGS)) {
      const played = await REACH[from]()
      t.equal(played.handler.state, from)
      const to = LEADS[from][name] ?? from
      // A second run throws at once.
      const outcome = await happen(played).then(() => played.handler.state, (error: unknown) => error)
      if (to === 'refused') t.match(outcome, { code: 'FAE_ILLEGAL_TRANSITION' }, `${name} in ${from}`)
      else t.equal(outcome, to, `${name} in ${from}`)
      if (to !== 'refused' && to !== from) seen.add(`${from}>${to}`)
      t.ok(played.calls <= 1)
    }
  }
  const played = new Played()
  played.handler.abort('shutdown')
  await played.run()
  t.equal(played.handler.state, 'skipped')
  t.strictSame([...seen, 'ready>skipped'].sort(), [...ALLOWED].sort(), 'every exit was walked')
})

t.test('a state holds the timer that belongs to it, and final states hold none', async (t) => {
  for (const from of STATES) {
    const { clock } = await REACH[from]()
    t.equal(clock.pending, from === 'running' || from === 'stopping' ? 1 : 0, from)
  }
  t.equal((await new Played().run(0)).clock.pending, 0, 'without a limit there is no timer')
})

t.test('what is reported, and with which times', async (t) => {
  const ended = await REACH.running()
  await ended.clock.advance(300)
  ended.return('value')
  await ended.settle()
  t.strictSame([ended.reports, ended.end], [['returned after 300'], { kind: 'returned', value: 'value' }])

  const skipped = await REACH.skipped()
  t.strictSame([skipped.reports, skipped.end, skipped.calls], [[], { kind: 'skipped' }, 0])

  const late = await REACH.running()
  await late.clock.advance(TIMEOUT_MS + GRACE_MS + 50)
  late.throw(new Error('no'))
  await late.settle()
  t.strictSame(late.reports, ['timed out', `abandoned after ${TIMEOUT_MS + GRACE_MS}`, 'late by 50'])
  t.strictSame([late.end, late.handler.abortReason, late.handler.graceMs], [{ kind: 'abandoned' }, 'timeout', GRACE_MS])
})

t.test('the timeout of a handler that was aborted already is over: it is not reported as one', async (t) => {
  const played = await new Played().run(100)
  await played.clock.advance(50)
  played.handler.abort('cancelled')
  await played.clock.advance(100)
  played.return('value')
  await played.settle()
  t.strictSame([played.reports, played.handler.abortReason], [['returned after 150'], 'cancelled'])
})

t.test('the first reason stands; a shutdown cuts the grace down and never prolongs it', async (t) => {
  const played = await REACH.stopping()
  const cut = async (reason: AbortReason, maxGraceMs: number, endsAfterMs: number): Promise<void> => {
    played.handler.abort(reason, maxGraceMs)
    t.equal(played.clock.pending, 1, 'the timer is replaced, not added to')
    t.equal(played.handler.graceMs, endsAfterMs)
  }
  await cut('lease-lost', Infinity, GRACE_MS)
  await cut('shutdown', 10_000, GRACE_MS)
  await cut('shutdown', 50, 50)
  await played.clock.advance(40)
  await cut('shutdown', 50, 50)
  await played.clock.advance(9)
  t.equal(played.handler.state, 'stopping')
  await played.clock.advance(1)
  t.equal(played.handler.state, 'abandoned')
  t.equal(played.handler.abortReason, 'cancelled')
})

t.test('reading the signal is noted; it aborts with a coded reason, before or after it was read', async (t) => {
  const played = await REACH.running()
  t.equal(played.handler.signalRead, false)
  const signal = played.handler.readSignal()
  t.equal(played.handler.signalRead, true)
  t.equal(played.handler.readSignal(), signal)
  t.equal(signal.aborted, false)
  played.handler.abort('cancelled')
  t.match(signal.reason, { code: 'FAE_ABORTED' })
  for (const [reason, code] of [['lease-lost', 'FAE_LEASE_LOST'], ['timeout', 'FAE_ATTEMPT_TIMEOUT'], ['shutdown', 'FAE_ABORTED']] as const) {
    const { handler } = new Played()
    handler.abort(reason)
    t.match(handler.readSignal().reason, { code }, reason)
  }
})

t.test('over() waits for the end or the abandonment of a handler that runs, and for nothing else', async (t) => {
  for (const state of ['ready', 'skipped', 'ended', 'abandoned', 'ended-late'] as const) await (await REACH[state]()).handler.over()
  for (const happening of ['returns', 'throws', 'timeout'] as const) {
    const played = await REACH.stopping()
    let over = false
    void played.handler.over().then(() => { over = true })
    await played.settle()
    t.equal(over, false)
    await HAPPENINGS[happening]?.(played)
    t.equal(over, true, happening)
  }
})
