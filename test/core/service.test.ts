import t from 'tap'
import { EXPIRED, sleep, withDeadline } from '../../lib/core/deadline.ts'
import { systemClock } from '../../lib/core/context.ts'
import { BaseService } from '../../lib/core/service.ts'

class Counting extends BaseService {
  starts = 0
  stops: number[] = []
  protected async onStart (): Promise<void> { this.starts++ }
  protected async onStop (deadlineMs: number): Promise<void> { this.stops.push(deadlineMs) }
}

t.test('start and stop happen once, however often they are called', async (t) => {
  const service = new Counting()
  await Promise.all([service.start(), service.start()])
  t.ok(service.running)
  await Promise.all([service.stop(10), service.stop(20)])
  t.equal(service.starts, 1)
  t.same(service.stops, [10])
  await service.start()
  t.notOk(service.running, 'a stopped service stays stopped')
})

t.test('stop before start is safe and prevents a later start', async (t) => {
  const service = new Counting()
  await service.stop(5)
  await service.start()
  t.equal(service.starts, 0)
  t.same(service.stops, [])
})

t.test('a deadline gives up waiting, and a late rejection is not left unhandled', async (t) => {
  let rejectLate!: (error: Error) => void
  const late = new Promise<string>((_resolve, reject) => { rejectLate = reject })
  t.equal(await withDeadline(systemClock, 1, late), EXPIRED)
  rejectLate(new Error('too late'))
  t.equal(await withDeadline(systemClock, 1_000, Promise.resolve('in time')), 'in time')
  await t.rejects(withDeadline(systemClock, 1_000, Promise.reject(new Error('no'))), /no/)
})

t.test('a sleep ends early when its signal aborts', async (t) => {
  const controller = new AbortController()
  const sleeping = sleep(systemClock, 60_000, controller.signal)
  controller.abort()
  await t.resolves(sleeping)
  await t.resolves(sleep(systemClock, 60_000, controller.signal), 'an aborted signal does not sleep at all')
})
