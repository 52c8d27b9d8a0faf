import t from 'tap'
import type { Clock } from '../../lib/core/context.ts'
import { ServerClock } from '../../lib/stores/bullmq/server-clock.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'

/** A host whose wall clock can be set, and a server that takes its time to answer. */
class Host implements Clock {
  readonly time = new FakeClock()
  wrongBy = 0
  /** Of the server, against the fake time. */
  serverBy = 0
  thereMs = 0
  backMs = 0
  asked = 0
  away = false

  now (): number { return this.time.now() + this.wrongBy }
  monotonic (): number { return this.time.monotonic() }
  setTimeout (callback: () => void, delayMs: number): unknown { return this.time.setTimeout(callback, delayMs) }
  clearTimeout (handle: unknown): void { this.time.clearTimeout(handle) }
  server (): number { return this.time.now() + this.serverBy }

  readonly read = async (): Promise<number> => {
    this.asked++
    if (this.away) throw new Error('away')
    if (this.thereMs > 0) await this.time.advance(this.thereMs)
    const told = this.server()
    if (this.backMs > 0) await this.time.advance(this.backMs)
    return told
  }
}

t.test('before the server was asked, and when it cannot be, the wall clock is all there is', async (t) => {
  const host = new Host()
  const clock = new ServerClock(host, host.read)
  host.away = true
  t.equal(clock.now(), host.now())
  await clock.ready()
  t.equal(clock.now(), host.now())
  t.equal(clock.known, false)
})

t.test('a wrong clock is put right, whatever the way to the server takes', async (t) => {
  for (const wrongBy of [-90_000, 5_000, 300_000]) {
    const host = new Host()
    host.wrongBy = wrongBy
    host.thereMs = 3
    host.backMs = 3
    const clock = new ServerClock(host, host.read)
    await clock.ready()
    t.ok(Math.abs(clock.now() - host.server()) <= 4, `${clock.now() - host.server()} ms off`)
    t.equal(host.asked, 3, 'the best of a few')
    t.ok(Math.abs(clock.toLocal(host.server() + 7_000) - Date.now() - 7_000) < 1_000)
    await host.time.advance(10_000)
    t.ok(Math.abs(clock.now() - host.server()) <= 4)
  }
})

t.test('a clock that agrees as far as one can see is left alone: no jitter from the network', async (t) => {
  const host = new Host()
  host.serverBy = 7
  host.thereMs = 1
  host.backMs = 20
  const clock = new ServerClock(host, host.read)
  for (let count = 0; count < 5; count++) {
    clock.renew()
    await clock.ready()
    t.equal(clock.now(), host.now())
  }
})

t.test('a wall clock that is set: the monotonic one tells the time until the server has been asked', async (t) => {
  const host = new Host()
  const clock = new ServerClock(host, host.read)
  await clock.ready()
  host.away = true
  host.wrongBy = -90_000
  await host.time.advance(1_000)
  t.equal(clock.now(), host.server())
  t.equal(clock.fresh, false, 'who must not be wrong waits for the answer')
  await clock.ready()
  t.equal(clock.now(), host.server())
  host.away = false
  await clock.ready()
  t.equal(clock.fresh, true)
  t.equal(clock.now(), host.server())
  await host.time.advance(60_000)
  t.equal(clock.now(), host.server())
})

t.test('a wall clock that is set while the server is asked: that answer counts for nothing', async (t) => {
  for (const setAfter of ['answer', 'all'] as const) {
    const host = new Host()
    let turn = 0
    const clock = new ServerClock(host, async () => {
      await host.time.advance(4)
      const time = await host.read()
      turn++
      if (turn === 1 || setAfter === 'all') host.wrongBy += 90_000
      return time
    })
    await clock.ready()
    t.ok(setAfter === 'all' ? !clock.known : Math.abs(clock.now() - host.server()) <= 4, setAfter)
  }
})

t.test('a connection that is made anew during a look causes another look', async (t) => {
  const host = new Host()
  let asked = 0
  const clock = new ServerClock(host, async () => {
    await host.time.advance(1)
    if (++asked === 1) {
      clock.renew()
      return host.server()
    }
    return host.server() + 60_000
  })
  await clock.ready()
  t.ok(Math.abs(clock.now() - host.server() - 60_000) <= 4, 'the server that is there now')
  t.equal(clock.fresh, true)
})

t.test('it asks again by itself, until it is stopped', async (t) => {
  const host = new Host()
  const clock = new ServerClock(host, host.read)
  clock.start()
  await host.time.advance(31_000)
  t.equal(host.asked, 1)
  host.serverBy = 5_000
  await host.time.advance(31_000)
  t.ok(Math.abs(clock.now() - host.server()) <= 2, 'a server whose clock was set, or another one')
  clock.stop()
  t.equal(host.time.pending, 0)
})
