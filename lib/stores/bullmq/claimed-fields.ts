/** What BullMQ's worker can read of a claimed job, and what another program may have written over. */
import { FIELD } from './layout.ts'

/**
 * What makes BullMQ throw when it reads a claimed job is replaced in the answer.
 * @returns what is wrong with the job
 */
export function mendFields (fields: unknown[]): string | undefined {
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

/** What a claimed job bears of its steps. */
export interface ClaimedSteps {
  /** It has something to undo. */
  readonly undo: boolean
  /** The signal that it waited for, and that did not come before its time was over. */
  readonly awaits: string | undefined
}

/** BullMQ passes on only the fields that it knows. @returns `undefined` for a job without steps */
export function claimedSteps (fields: readonly unknown[]): ClaimedSteps | undefined {
  const undo = fieldIn(fields, FIELD.undo)
  const awaits = fieldIn(fields, FIELD.awaits)
  return undo === undefined && awaits === undefined ? undefined : { undo: undo === '1', awaits }
}

function fieldIn (fields: readonly unknown[], name: string): string | undefined {
  for (let at = fields.indexOf(name); at >= 0; at = fields.indexOf(name, at + 1)) {
    // A text may read like the name of a field.
    if (at % 2 === 0) return String(fields[at + 1])
  }
  return undefined
}

/** The fields of a job that BullMQ cannot read, without those that make it throw. */
export function readableFields (fields: object): object {
  return { ...fields, name: Reflect.get(fields, 'name') ?? '', data: '{}', stacktrace: undefined, returnvalue: undefined }
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
