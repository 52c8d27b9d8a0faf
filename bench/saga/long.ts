/** What the steps of a long saga take at its beginning and at its end. */
import { median } from '../measuring/figures.ts'
import { NAME, sagaApp, type LongFigures, type LongTask } from './tasks.ts'

/** Steps at each end of a long saga that are looked at. The first is left out: it comes with the claim. */
const AT_EACH_END = 20

/** Sagas of many steps, one after the other. The first saga warms up. */
export async function measureLong ({ url, prefix, steps, sagas }: LongTask): Promise<LongFigures> {
  const begun: number[] = []
  const app = await sagaApp({ url, prefix, concurrency: 1, steps, run: () => { begun.push(performance.now()) } })
  await app.ready()
  const early: number[] = []
  const late: number[] = []
  for (let saga = 0; saga <= sagas; saga++) {
    begun.length = 0
    const submitted = await app.jobs.submit(NAME, {})
    await app.jobs.waitFor(submitted.id, { timeoutMs: 60_000 })
    const took = begun.slice(1).map((at, n) => at - (begun[n] ?? NaN)).slice(1)
    if (saga === 0) continue
    early.push(...took.slice(0, AT_EACH_END))
    late.push(...took.slice(-AT_EACH_END))
  }
  await app.close()
  return { earlyMicros: median(early) * 1_000, lateMicros: median(late) * 1_000 }
}
