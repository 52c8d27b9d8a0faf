/** Processes whose wall clock is wrong, or is set while they run: the server's clock decides. */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { RedisStoreOptions } from '../../lib/stores/bullmq/index.ts'
import { sharedRedis, uniquePrefix } from '../support/redis.ts'
import { openStore, until } from '../support/redis-jobs.ts'
import type { ClockAsked, ClockTold } from './fixtures/clock-app.ts'

t.setTimeout(120_000)

const server = await sharedRedis()
t.teardown(() => server.stop())

const fixture = (name: string): string => fileURLToPath(new URL(`./fixtures/${name}.js`, import.meta.url))

/** An application in a process of its own. */
class ClockedProcess {
  readonly told: ClockTold[] = []
  readonly #child: ChildProcess
  readonly #exited: Promise<unknown>

  constructor (options: RedisStoreOptions, wrongByMs: number, worker = true) {
    this.#child = fork(fixture('clock-app'), [JSON.stringify(options), String(worker)], {
      execArgv: ['--import', fixture('wrong-clock')], env: { ...process.env, WRONG_BY_MS: String(wrongByMs) }, stdio: ['ignore', 'inherit', 'inherit', 'ipc']
    })
    this.#exited = once(this.#child, 'exit')
    this.#child.on('message', (told: ClockTold) => { this.told.push(told) })
  }

  async tells<K extends ClockTold['kind']> (kind: K, id?: string, withinMs = 20_000): Promise<Extract<ClockTold, { kind: K }>> {
    const found = (): ClockTold | undefined => this.told.find((told) => told.kind === kind && (id === undefined || ('id' in told && told.id === id)))
    await until(`"${kind}" of ${id ?? 'the process'}`, found, withinMs)
    return found() as Extract<ClockTold, { kind: K }>
  }

  async submit (asked: NonNullable<ClockAsked['submit']>): Promise<Extract<ClockTold, { kind: 'submitted' }>> {
    const before = this.told.length
    this.#child.send({ submit: asked } satisfies ClockAsked)
    await until('it is submitted', () => this.told.slice(before).some(({ kind }) => kind === 'submitted'))
    return this.told.slice(before).find(({ kind }) => kind === 'submitted') as Extract<ClockTold, { kind: 'submitted' }>
  }

  step (stepMs: number): void { this.#child.send({ stepMs }) }

  async end (): Promise<void> {
    if (this.#child.connected) this.#child.disconnect()
    const timer = setTimeout(() => { this.#child.kill('SIGKILL') }, 8_000)
    await this.#exited
    clearTimeout(timer)
  }
}

async function started (t: { teardown (end: () => unknown): unknown }, options: RedisStoreOptions, wrongByMs: number, worker = true): Promise<ClockedProcess> {
  const process = new ClockedProcess({ url: server.url, ...options }, wrongByMs, worker)
  t.teardown(() => process.end())
  await process.tells('ready')
  return process
}

// Generous upper bounds: the machine may be busy. A clock that counts would be wrong by a minute and a half at least.
for (const wrongBy of [90_000, -90_000, 300_000]) {
  t.test(`a process whose clock is ${Math.abs(wrongBy) / 1_000} s ${wrongBy > 0 ? 'ahead' : 'behind'}`, async (t) => {
    const options = { prefix: uniquePrefix(), leaseMs: 1_000, stalledIntervalMs: 200 }
    const wrong = await started(t, options, wrongBy)
    const right = await openStore({ url: server.url, ...options })
    t.teardown(() => right.close(2_000))

    const begin = performance.now()
    const delayed = await wrong.submit({ delayMs: 1_500 })
    t.ok(Math.abs(delayed.createdAt - Date.now()) < 5_000, 'its jobs are as old as they are')
    t.equal((await right.get(delayed.id))?.createdAt, delayed.createdAt, 'and everybody says so')
    const { waitMs } = await wrong.tells('claimed', delayed.id)
    const tookMs = performance.now() - begin
    t.ok(tookMs > 1_400 && tookMs < 12_000, `a delay of 1.5 s took ${Math.round(tookMs)} ms`)
    t.ok(waitMs < 10_000, `it waited ${waitMs} ms`)
    const { totalMs, found, waitMs: waited } = await wrong.tells('completed', delayed.id)
    t.ok(totalMs > 1_400 && totalMs < 15_000, `from beginning to end: ${totalMs} ms`)
    t.ok(waited < 10_000)
    t.equal(found, true, 'it can read a job that it has just completed')
    t.equal((await right.get(delayed.id))?.state, 'completed', 'and so can everybody')

    const long = await wrong.submit({ runMs: 2_500 })
    await wrong.tells('completed', long.id)
    t.equal(wrong.told.filter(({ kind }) => kind === 'stalled' || kind === 'lease lost').length, 0, 'it renews its leases')
  })
}

t.test('jobs that others completed stay, whoever clears away', async (t) => {
  const options = { prefix: uniquePrefix(), retention: { completedMs: 4_000, failedMs: 4_000 } }
  const right = await started(t, options, 0)
  const wrong = await started(t, options, 300_000, false)
  const store = await openStore({ url: server.url, prefix: options.prefix })
  t.teardown(() => store.close(2_000))
  const { id } = await right.submit({})
  await right.tells('completed', id)
  const lasted = await until('it is forgotten', async () => await store.get(id) === undefined, 20_000)
  t.ok(lasted > 3_000, `it was kept for ${Math.round(lasted)} of 4000 ms`)
  t.equal(wrong.told.length, 1, 'the other one had nothing to do with it')
})

for (const step of [-90_000, 90_000]) {
  t.test(`the clock of a process is set by ${step / 1_000} s while it runs`, async (t) => {
    const options = { prefix: uniquePrefix(), leaseMs: 1_000, stalledIntervalMs: 200 }
    const process = await started(t, options, 0)
    const long = await process.submit({ runMs: 3_000 })
    await process.tells('claimed', long.id)
    process.step(step)
    const begin = performance.now()
    const delayed = await process.submit({ delayMs: 1_500 })
    t.ok(Math.abs(delayed.createdAt - Date.now()) < 5_000)
    const { waitMs } = await process.tells('claimed', delayed.id)
    const tookMs = performance.now() - begin
    t.ok(tookMs > 1_400 && tookMs < 12_000, `a delay of 1.5 s took ${Math.round(tookMs)} ms`)
    t.ok(waitMs < 10_000)
    await process.tells('completed', long.id)
    t.equal(process.told.filter(({ kind }) => kind === 'stalled' || kind === 'lease lost').length, 0, 'the running job kept its lease')
  })
}
