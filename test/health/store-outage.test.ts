import t from 'tap'
import { AsyncEndpointsError } from '../../lib/core/errors.ts'
import type { HealthCheck, HealthVerdict } from '../../lib/core/health-check.ts'
import { workerCheck, type WorkerView } from '../../lib/health/process-checks.ts'
import { StoreOutage } from '../../lib/health/store-outage.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'

const context = { signal: new AbortController().signal }
const ask = async (check: HealthCheck): Promise<HealthVerdict> => await check(context)

t.test('a store that was never reached makes the process unready; one that is lost later does not', async (t) => {
  const outage = new StoreOutage(new FakeClock())
  let answer: () => HealthVerdict = () => { throw new AsyncEndpointsError('FAE_STORE_UNAVAILABLE', 'The store is away') }
  const check = outage.watch(() => answer())
  t.match(await ask(check), { status: 'Unhealthy', description: 'The store is away' }, 'a wrong address must stop a deployment')
  const away = answer
  answer = () => ({ status: 'Degraded', description: 'slow' })
  t.match(await ask(check), { status: 'Degraded', description: 'slow' })
  answer = away
  t.match(await ask(check), { status: 'Degraded', description: 'The store is away; health.storeOutage keeps this process ready', data: { error_type: 'FAE_STORE_UNAVAILABLE' } })
  answer = () => ({ status: 'Unhealthy', description: 'the store would take no job', data: { error: 'FAE_STORE_FULL' } })
  t.match(await ask(check), { status: 'Degraded', description: /would take no job/, data: { error: 'FAE_STORE_FULL' } })
})

t.test('a worker that cannot claim because of the outage is not silent by its own fault, nor right after it', async (t) => {
  const clock = new FakeClock()
  const outage = new StoreOutage(clock)
  let good = true
  const store = outage.watch(() => good ? 'Healthy' : { status: 'Unhealthy' })
  const consumer = { queue: 'default', active: 0, lastSeenAt: clock.monotonic(), paused: false }
  const view: WorkerView = { running: true, consumers: () => [consumer], worksOn: () => true, slotsOf: () => 1, abandonedIn: () => ({ running: 0, exhaustedSince: undefined }) }
  const worker = outage.excuse(workerCheck(view, clock, 30_000, () => outage.lastOutAt))
  const both = async (): Promise<HealthVerdict> => (await Promise.all([ask(store), ask(worker)]))[1]
  t.match(await both(), { status: 'Healthy' })
  good = false
  await clock.advance(60_000)
  t.match(await both(), { status: 'Degraded', description: 'the store cannot be reached, so no job can be claimed' })
  good = true
  await clock.advance(1_000)
  t.match(await both(), { status: 'Healthy' }, 'it gets its time to look again')
  await clock.advance(30_000)
  t.match(await both(), { status: 'Unhealthy' }, 'and after that it is silent by itself')
})
