/**
 * What we change inside BullMQ's worker so that it follows the server's clock, keeps its leases whatever the wall clock does,
 * and survives jobs that it cannot read. `test/stores/bullmq-internals.test.ts` fails when a release changes any of it.
 */
import type { RedisQueueBackend as Backend } from 'bullmq'
import { unsupported } from './errors.ts'

/** The time as the store sees it. */
export interface WorkerClock {
  /** What BullMQ takes for now, wherever it stores or compares moments on the server. */
  now (): number
  /** A moment of the server as the wall clock of this host shows it: BullMQ compares it with `Date.now()`. */
  toLocal (moment: number): number
}

/** Scripts that get the time as an argument, by its place; `moveToFinished` gets it in {@link spreadFinishTimes}. */
const TIME_ARGUMENT: Readonly<Record<string, number>> = { moveToActive: 12, moveToDelayed: 12, retryJob: 12, moveStalledJobsToWait: 11 }
/** Scripts that may hand out the next job, or else say when the next delayed one is due, and where they say it. */
const HAND_OUT: ReadonlySet<string> = new Set(['moveToActive', 'moveToFinished', 'moveToDelayed'])
const DUE = 3

/**
 * BullMQ takes the time of the host that it runs on: to hand out delayed jobs, to note when a job began, was put back and
 * ended, and to forget old ones. On hosts whose clocks differ, a delay of ten seconds would last none, or a hundred.
 */
export function followClock (backend: Backend, { now, toLocal }: WorkerClock, faults: Map<string, string>): void {
  const execCommand: unknown = Reflect.get(backend, 'execCommand')
  if (typeof execCommand !== 'function') throw unsupported('This version of the package bullmq is not supported: its backend has no execCommand; install bullmq 6.7')
  Reflect.set(backend, 'execCommand', (client: unknown, name: string, args: unknown[]): unknown => {
    const place = TIME_ARGUMENT[name]
    if (place !== undefined) args[place] = now()
    const answer: unknown = Reflect.apply(execCommand, backend, [client, name, args])
    if (!HAND_OUT.has(name) || !(answer instanceof Promise)) return answer
    return answer.then((found: unknown) => {
      if (!Array.isArray(found)) return found
      if (Number(found[DUE]) > 0) found[DUE] = toLocal(Number(found[DUE]))
      const fault = Array.isArray(found[0]) ? mendFields(found[0]) : undefined
      if (fault !== undefined) faults.set(String(found[1]), fault)
      return found
    })
  })
  const waitForJob = backend.waitForJob.bind(backend)
  backend.waitForJob = async (timeout) => {
    const marker = await waitForJob(timeout)
    return marker !== null && marker !== undefined && marker.score > 0 ? { ...marker, score: toLocal(marker.score) } : marker
  }
}

/**
 * The worker renews a lease when the wall clock says that it is time. Set back by a minute it would let every lease run out;
 * and it takes the start of the attempt, which is a moment of the server's clock, for the last renewal. An entry that was
 * renewed ages ago is renewed every time the worker looks, four times in the life of a lease.
 */
export function renewOften (worker: object): void {
  const manager: unknown = Reflect.get(worker, 'lockManager')
  const tracked: unknown = typeof manager === 'object' && manager !== null ? Reflect.get(manager, 'trackedJobs') : undefined
  if (!(tracked instanceof Map)) throw unsupported('This version of the package bullmq is not supported: its worker does not track leases as expected; install bullmq 6.7')
  const set = tracked.set.bind(tracked)
  Reflect.set(tracked, 'set', (id: unknown, entry: object) => set(id, { ...entry, ts: 1 }))
}

/** What makes BullMQ throw when it reads a claimed job is replaced in the answer. @returns what is wrong with the job */
function mendFields (fields: unknown[]): string | undefined {
  let fault: string | undefined
  let name: unknown
  let timestamp: unknown
  let data: unknown
  for (let at = 0; at + 1 < fields.length; at += 2) {
    const value: unknown = fields[at + 1]
    switch (fields[at]) {
      case 'name': name = value; break
      case 'timestamp': timestamp = value; break
      case 'data': data = value; break
      case 'priority':
      case 'ats':
      case 'atm':
      case 'stc':
        if (!isWhole(value)) fault = `its field ${String(fields[at])} is not a number`
        break
      case 'opts':
      case 'progress':
      case 'parent':
        if (isJson(value)) break
        fault = `its field ${String(fields[at])} is not JSON`
        fields[at + 1] = fields[at] === 'progress' ? '0' : '{}'
    }
  }
  if (name === undefined) fault = 'it has no name'
  else if (data === undefined) fault = 'it has no data'
  else if (!isWhole(timestamp)) fault = 'its field timestamp is not a number'
  return fault
}

function isWhole (value: unknown): boolean { return /^-?\d{1,16}$/.test(String(value)) }

function isJson (value: unknown): boolean {
  try {
    JSON.parse(String(value))
    return true
  } catch {
    return false
  }
}

const UNREADABLE = new WeakMap<object, string>()

/** What is wrong with a claimed job that BullMQ could not have read as it is. It has no data. */
export function unreadable (job: object): string | undefined { return UNREADABLE.get(job) }

/**
 * A job whose data is not JSON would make the worker throw after it was claimed: it would stall, and be claimed again, for
 * ever. The worker gets a job without data instead, which says what is wrong.
 */
export function readGently (worker: object, faults: Map<string, string>): void {
  const createJob: unknown = Reflect.get(worker, 'createJob')
  if (typeof createJob !== 'function') throw unsupported('This version of the package bullmq is not supported: its worker does not make jobs as expected; install bullmq 6.7')
  const make = (data: unknown, id: unknown): unknown => Reflect.apply(createJob, worker, [data, id])
  Reflect.set(worker, 'createJob', (data: object, id: unknown): unknown => {
    let fault = faults.get(String(id))
    if (fault === undefined) {
      try {
        return make(data, id)
      } catch {
        fault = 'its field data is not JSON'
      }
    }
    faults.delete(String(id))
    const job = make({ ...data, name: Reflect.get(data, 'name') ?? '', data: '{}', stacktrace: undefined, returnvalue: undefined }, id)
    if (typeof job === 'object' && job !== null) UNREADABLE.set(job, fault)
    return job
  })
}
