/** A store of which a test replaces some members. */
import type { JobStore, StepStore } from '../../lib/jobs/store.ts'

export function withMembers (store: JobStore, members: Partial<JobStore>): JobStore {
  return new Proxy(store, {
    get (target, name) {
      if (Object.hasOwn(members, name)) return Reflect.get(members, name)
      const member: unknown = Reflect.get(target, name, target)
      if (typeof member !== 'function') return member
      return (...args: unknown[]): unknown => Reflect.apply(member, target, args)
    }
  })
}

type Write = StepStore['checkpoint']
/** Is given what writes a checkpoint, and writes it. */
export type AroundCheckpoint = (write: Write, ...args: Parameters<Write>) => ReturnType<Write>

export function withCheckpoints (steps: StepStore, around: AroundCheckpoint): StepStore {
  return {
    journal: (id) => steps.journal(id),
    signal: (id, name, value) => steps.signal(id, name, value),
    checkpoint: (claim, checkpoint) => around((...args) => steps.checkpoint(...args), claim, checkpoint)
  }
}

export function stepsOfStore ({ steps, type }: JobStore): StepStore {
  if (steps === undefined) throw new Error(`the store ${type} keeps no steps`)
  return steps
}
