/** A store of which a test replaces some members. */
import type { JobStore } from '../../lib/jobs/store.ts'
import type { StepStore } from '../../lib/jobs/steps.ts'

export function withMembers (store: JobStore, members: Partial<JobStore>): JobStore {
  return new Proxy(store, {
    get (target, name) {
      if (Object.hasOwn(members, name)) return Reflect.get(members, name)
      const member: unknown = Reflect.get(target, name, target)
      return typeof member === 'function' ? (...args: unknown[]): unknown => Reflect.apply(member, target, args) : member
    }
  })
}

export type WriteCheckpoint = StepStore['checkpoint']

/** @param around is given what writes a checkpoint, and writes it */
export function withCheckpoints (steps: StepStore, around: (write: WriteCheckpoint, ...args: Parameters<WriteCheckpoint>) => ReturnType<WriteCheckpoint>): StepStore {
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
