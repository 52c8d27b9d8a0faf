/** The faults: each happens under load, and says when what happened. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Leave } from './processes.ts'
import type { Stage } from './stage.ts'

/** What was done, for the verdict. */
export interface Story {
  /** Workers that were killed. */
  readonly kills: ReadonlyArray<{ readonly name: string, readonly at: number }>
  /** From when on Redis answered again. */
  readonly returns: readonly number[]
  readonly leaves: ReadonlyArray<Leave & { readonly name: string }>
}

export interface Scenario {
  readonly title: string
  /** Requests go where readiness says: then nobody may be refused. */
  readonly followsReadiness: boolean
  readonly play: (stage: Stage, smoke: boolean) => Promise<Story>
}

const NOTHING: Story = { kills: [], returns: [], leaves: [] }
const random = <T>(values: readonly T[]): T | undefined => values[Math.floor(Math.random() * values.length)]

export const SCENARIOS: Readonly<Record<string, Scenario>> = {
  kill: {
    title: '(a) a random worker is killed every 2 s for 60 s',
    followsReadiness: false,
    async play ({ workers }, smoke) {
      const kills: Array<{ name: string, at: number }> = []
      for (let n = 0; n < (smoke ? 2 : 30); n++) {
        await sleep(smoke ? 1_000 : 2_000)
        // One that is only just coming back has nothing to lose.
        const victim = random(workers.filter(({ readiness }) => readiness === 'ready'))
        if (victim === undefined) continue
        kills.push({ name: victim.name, at: await victim.kill() })
        victim.spawn()
      }
      await Promise.all(workers.map((worker) => worker.untilReady()))
      return { ...NOTHING, kills }
    }
  },

  restart: {
    title: '(b) redis-server is killed and started again 2 s later, 5 times',
    followsReadiness: false,
    async play ({ redis }, smoke) {
      const returns: number[] = []
      for (let n = 0; n < (smoke ? 1 : 5); n++) {
        await sleep(smoke ? 1_000 : 4_000)
        await redis.kill()
        await sleep(smoke ? 1_000 : 2_000)
        await redis.start()
        returns.push(Date.now())
        await sleep(smoke ? 2_000 : 6_000)
      }
      return { ...NOTHING, returns }
    }
  },

  freeze: {
    title: '(c) redis-server is frozen for 10 s',
    followsReadiness: false,
    async play ({ redis }, smoke) {
      await sleep(smoke ? 1_000 : 5_000)
      redis.freeze()
      await sleep(smoke ? 3_000 : 10_000)
      redis.thaw()
      const returns = [Date.now()]
      await sleep(smoke ? 2_000 : 10_000)
      return { ...NOTHING, returns }
    }
  },

  rolling: {
    title: '(d) every process is restarted, one after the other',
    followsReadiness: true,
    async play ({ places, apis, workers }, smoke) {
      const leaves: Array<Leave & { name: string }> = []
      for (const place of smoke ? [...apis.slice(0, 1), ...workers.slice(0, 1)] : places) {
        await sleep(smoke ? 200 : 2_000)
        leaves.push({ name: place.name, ...await place.leave() })
        await place.start()
      }
      await sleep(smoke ? 200 : 2_000)
      return { ...NOTHING, leaves }
    }
  }
}
