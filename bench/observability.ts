/**
 * What observability costs a job on Redis, end to end: `node dist/bench/observability.js [options]`, after `npm run build`.
 * Every variant is an application in a process of its own that is sent jobs over HTTP and works them off; counted is the
 * CPU of that process, of all its threads, divided by the jobs. All are warm and alive at the same time and take their
 * turns in slices of a second, so that whatever else the machine does disturbs them alike; each round has new processes,
 * as the layout of one process's memory alone is worth a percent.
 *
 * With `--inside` jobs live in the memory of the process that submits them, without HTTP: nothing is left but the library,
 * a job costs a thirtieth, and what observability adds to it can be told to half a microsecond. On Redis it is more, by
 * what a cold cache makes of the same work.
 *
 *   --inside      without HTTP and Redis; twenty times the jobs, and not for BullMQ's own variants
 *   --only a,b    variants (see bench/observability/variants.ts); `off` is always there
 *   --rounds N    new processes so many times (5)
 *   --slices N    turns of each variant in a round (6)
 *   --jobs N      jobs of a turn (3000)
 *   --warm-up N   jobs before the first turn (15000)
 *   --smoke       one short run, to see that the benchmark works; its figures mean nothing
 */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Redis } from 'ioredis'
import { startRedis, uniquePrefix } from '../test/support/redis.ts'
import { median, print, quantile } from './measuring/figures.ts'
import { pin, serverMicros } from './measuring/machine.ts'
import { Load } from './observability/load.ts'
import type { Answer, Order } from './observability/serve.ts'
import { BODY, isVariant, MEMORY, SPANS_PER_JOB, VARIANTS, type Variant } from './observability/variants.ts'

const { values: given } = parseArgs({
  options: {
    only: { type: 'string' }, rounds: { type: 'string' }, slices: { type: 'string' }, jobs: { type: 'string' }, 'warm-up': { type: 'string' }, inside: { type: 'boolean', default: false }, smoke: { type: 'boolean', default: false }
  }
})
const SMOKE = given.smoke
const INSIDE = given.inside
const MANY = INSIDE ? 20 : 1
const ROUNDS = Number(given.rounds ?? (SMOKE ? 1 : 5))
const SLICES = Number(given.slices ?? (SMOKE ? 1 : 6))
const JOBS = Number(given.jobs ?? (SMOKE ? 200 : 3_000 * MANY))
const WARM_UP_JOBS = Number(given['warm-up'] ?? (SMOKE ? 200 : 15_000 * MANY))
/** Before each turn, uncounted: the others have had the processor in between. */
const SETTLE_JOBS = Math.ceil(JOBS / 10)
const CONNECTIONS = 50
const ANSWER_MS = 120_000

/** What is wanted of a variant, beside what it is compared with. */
const WANTED: { readonly [V in Variant]?: string } = {
  disabled: '< 0.5 %',
  metrics: '<= 1 %',
  default: '<= 2 %',
  info: '<= 5 %',
  'info-collected': '<= 5 %',
  sampled: `<= ${process.version.startsWith('v20.') ? 30 : 25} µs, <= half of obvious`,
  'ours-1pct': '<= a fifth of what bullmq-otel adds'
}
/** In percent of a job on Redis: of one in memory, they would say nothing. */
function wantedOf (variant: Variant): string {
  const wanted = WANTED[variant] ?? ''
  return INSIDE && !wanted.includes('µs') ? '' : wanted
}

/** What adds its telemetry to what. */
function baseOf (variant: Variant): Variant {
  if (variant === 'bullmq-otel' || variant === 'bullmq') return 'bullmq'
  return variant.endsWith('-collected') ? 'off-collected' : 'off'
}

class Child {
  readonly variant: Variant
  readonly #process: ChildProcess
  #load: Load | undefined
  #jobs = 0

  constructor (variant: Variant, url: string) {
    this.variant = variant
    this.#process = fork(fileURLToPath(new URL('./observability/serve.js', import.meta.url)), [variant, url, uniquePrefix()])
  }

  async open (): Promise<void> {
    await pin(this.#process.pid, 1)
    const { port } = await this.#answer<{ port: number }>()
    if (INSIDE) return
    this.#load = new Load(port, '/reports', BODY)
    await this.#load.open(CONNECTIONS)
  }

  /** @returns microseconds of CPU for each job */
  async work (jobs: number): Promise<number> {
    this.#send({ jobs })
    // Together: when the load fails, that is the error, and not that nobody answers any more.
    const [{ cpuMicros }] = await Promise.all([this.#answer<{ cpuMicros: number }>(), this.#load?.run(jobs)])
    this.#jobs += jobs
    return cpuMicros / jobs
  }

  /** @returns spans made and spans that the exporter got */
  async spans (): Promise<{ readonly wanted: number | undefined, readonly exported: number | undefined }> {
    this.#send('spans')
    const { spans } = await this.#answer<{ spans: number | undefined }>()
    const perJob = SPANS_PER_JOB[this.variant]
    return { wanted: perJob === undefined ? undefined : perJob * this.#jobs, exported: spans }
  }

  async close (): Promise<void> {
    this.#load?.close()
    const exited = once(this.#process, 'exit')
    this.#send('close')
    await exited
  }

  #send (order: Order): void { this.#process.send(order) }

  async #answer<A extends Answer> (): Promise<A> {
    const over = new AbortController()
    const gone = once(this.#process, 'exit', { signal: over.signal }).then(([code, signal]: unknown[]) => { throw new Error(`${this.variant}: the measured process ended (${String(signal ?? code)})`) })
    const message = once(this.#process, 'message', { signal: AbortSignal.any([over.signal, AbortSignal.timeout(ANSWER_MS)]) })
    try {
      const [answer] = await Promise.race([message, gone]) as [A]
      return answer
    } finally {
      message.catch(() => {})
      gone.catch(() => {})
      over.abort()
    }
  }
}

/** What a turn cost for each job: microseconds of CPU of the process, and of the Redis server (NaN without one). */
interface Cost { readonly process: number, readonly server: number }
/** By variant: one figure per slice of a round. */
type Round = Map<Variant, Cost[]>

async function measureRound (variants: readonly Variant[], place: Place, spans: (line: string) => void): Promise<Round> {
  const children: Child[] = []
  try {
    // One after another: all at once take longer to start than Fastify allows a plugin.
    for (const variant of variants) {
      const child = new Child(variant, place.url)
      children.push(child)
      await child.open()
    }
    for (const child of children) await child.work(WARM_UP_JOBS)
    const round: Round = new Map(variants.map((variant) => [variant, []]))
    for (let slice = 0; slice < SLICES; slice++) {
      // Each is first once, and none has two turns in a row: whoever comes back sooner finds its caches warm.
      for (const child of [...children.slice(slice % children.length), ...children.slice(0, slice % children.length)]) {
        await child.work(SETTLE_JOBS)
        const servedBefore = await place.served()
        const process = await child.work(JOBS)
        round.get(child.variant)?.push({ process, server: (await place.served() - servedBefore) / JOBS })
      }
    }
    for (const child of children) {
      const { wanted, exported } = await child.spans()
      if (wanted !== undefined) spans(`${child.variant}: ${wanted} spans made, ${exported} exported, ${wanted - (exported ?? 0)} dropped`)
      else if (exported !== undefined) spans(`${child.variant}: ${exported} spans exported`)
    }
    return round
  } finally {
    await Promise.all(children.map((child) => child.close()))
  }
}

/** Of one variant in one round. Not the median: a collection of garbage that comes every other slice is a cost, too. */
function mean (values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

interface Figures {
  readonly micros: number
  readonly serverMicros: number
  /** Over its base, in the same round. */
  readonly added: number
  readonly quarter: number
  readonly threeQuarters: number
  readonly percent: number
}

function figuresOf (variant: Variant, rounds: readonly Round[]): Figures {
  const of = (name: Variant, whose: keyof Cost = 'process'): number[] => rounds.map((round) => mean((round.get(name) ?? []).map((cost) => cost[whose])))
  const [own, base] = [of(variant), of(baseOf(variant))]
  const differences = own.map((value, index) => value - (base[index] ?? NaN))
  return { micros: median(own), serverMicros: median(of(variant, 'server')), added: median(differences), quarter: quantile(differences, 0.25), threeQuarters: quantile(differences, 0.75), percent: median(differences) / median(base) * 100 }
}

function printFigures (variants: readonly Variant[], rounds: readonly Round[]): void {
  const figures = new Map(variants.map((variant) => [variant, figuresOf(variant, rounds)]))
  print(`${''.padEnd(16)} CPU µs/job${INSIDE ? '' : '   of Redis'}   added µs/job (quartiles)      added %   wanted`)
  for (const [variant, { micros, serverMicros: served, added, quarter, threeQuarters, percent }] of figures) {
    const text = variant === baseOf(variant)
      ? ''
      : `${added.toFixed(2).padStart(10)} (${quarter.toFixed(2)} … ${threeQuarters.toFixed(2)})`.padEnd(32) + `${percent.toFixed(2).padStart(6)} %   ${wantedOf(variant)}`
    print(`${variant.padEnd(16)} ${micros.toFixed(1).padStart(10)}${INSIDE ? '' : served.toFixed(1).padStart(11)}   ${text}`)
  }
  const compare = (ours: Variant, theirs: Variant, wanted: string): void => {
    const [a, b] = [figures.get(ours), figures.get(theirs)]
    if (a !== undefined && b !== undefined) print(`${theirs} adds ${(b.added / a.added).toFixed(1)} times what ${ours} adds (wanted: at least ${wanted})`)
  }
  compare('sampled', 'obvious', '2')
  compare('info', 'info-obvious', '1')
  compare('ours-1pct', 'bullmq-otel', '5')
}

function chosen (): Variant[] {
  if (given.only === undefined) return SMOKE ? ['off', 'default', 'obvious'] : VARIANTS.filter((variant) => !INSIDE || !variant.startsWith('bullmq'))
  const names = given.only.split(',')
  for (const name of names) if (!isVariant(name)) throw new Error(`there is no variant ${name}; there are ${VARIANTS.join(', ')}`)
  const needed = new Set(names.filter(isVariant).flatMap((variant) => [baseOf(variant), variant]))
  return VARIANTS.filter((variant) => needed.has(variant))
}

/** Where jobs live, and how to leave it empty and for good. */
interface Place {
  readonly url: string
  readonly pid: number | undefined
  /** Microseconds of CPU that the server has used. */
  served (): Promise<number>
  clear (): Promise<unknown>
  close (): Promise<void>
}

async function openPlace (): Promise<Place> {
  if (INSIDE) return { url: MEMORY, pid: process.pid, served: async () => NaN, clear: async () => {}, close: async () => {} }
  const redis = await startRedis()
  const client = new Redis(redis.url)
  return {
    url: redis.url,
    pid: redis.pid,
    served: () => serverMicros(client),
    clear: () => client.flushall(),
    close: async () => {
      await client.quit()
      await redis.stop()
    }
  }
}

async function main (): Promise<void> {
  const variants = chosen()
  const place = await openPlace()
  const pinned = await pin(place.pid, 0) && await pin(process.pid, 0)
  print(`Node ${process.version}, ${INSIDE ? 'jobs in memory, ' : ''}${pinned ? 'a processor for the measured process, one for the rest, ' : ''}${SMOKE ? 'smoke run, figures mean nothing' : `median of ${ROUNDS} rounds of ${SLICES} × ${JOBS} jobs`}`)
  const rounds: Round[] = []
  const spans = new Map<string, string>()
  try {
    for (let round = 0; round < ROUNDS; round++) {
      const measured = await measureRound(variants, place, (line) => { spans.set(line.split(':', 1)[0] ?? '', line) })
      rounds.push(measured)
      // It takes minutes: whoever ends it has what was measured until then.
      print(`round ${round + 1}: ${[...measured].map(([variant, slices]) => `${variant} ${mean(slices.map(({ process }) => process)).toFixed(1)}`).join(', ')}`)
      await place.clear()
    }
  } finally {
    await place.close()
  }
  printFigures(variants, rounds)
  for (const line of spans.values()) print(line)
}

await main()
