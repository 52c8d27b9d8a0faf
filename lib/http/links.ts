import { invalidOptions } from '../core/options.ts'
import type { JobState } from '../jobs/states.ts'
import { uriPath } from './uri-path.ts'

/** The links of a job. Only those that are useful in its present state are present. */
export interface Links {
  /** The status document. */
  readonly self: string
  /** The result: 409 until the job is completed. Absent if there will be no result. */
  readonly result?: string
  /** POST here, or DELETE `self`, to cancel the job. Absent if the job has ended. */
  readonly cancel?: string
  /** POST here to run a failed job again. Absent when it was run again as often as `maxRedrives` allows. */
  readonly redrive?: string
  /** POST here what a saga waits for, by the name of the signal. */
  readonly signals?: Readonly<Record<string, string>> | undefined
}

/** Makes the links of jobs from the path of the job routes. */
export class JobLinks {
  /** The path (or, with `publicUrl`, the URL) of the job routes, without a slash at the end. */
  readonly base: string

  constructor (prefix: string, jobsPath: string, publicUrl: string | undefined) {
    // A link goes into a header, which must be ASCII (RFC 3986 §2). In Fastify's router, `::` stands for a colon in
    // the path.
    this.base = `${rootOf(publicUrl)}${uriPath(prefix.replace(/\/+$/, '').replaceAll('::', ':'))}${jobsPath}`
  }

  self (id: string): string { return `${this.base}/${id}` }

  result (id: string): string { return `${this.base}/${id}/result` }

  /** @param name of the signal: letters, digits, `_`, `.` and `-` */
  signal (id: string, name: string): string { return `${this.base}/${id}/signals/${name}` }

  of (id: string, state: JobState, mayRedrive = true): Links {
    const self = `${this.base}/${id}`
    switch (state) {
      case 'completed': return { self, result: `${self}/result` }
      case 'failed': return mayRedrive ? { self, redrive: `${self}/redrive` } : { self }
      case 'cancelled': return { self }
      default: return { self, result: `${self}/result`, cancel: `${self}/cancel` }
    }
  }
}

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
function rootOf (publicUrl: string | undefined): string {
  if (publicUrl === undefined) return ''
  const ascii = /^[!-~]*$/.test(publicUrl)
  if (!ascii && !URL.canParse(publicUrl)) throw invalidOptions('http', ['publicUrl is not a URL'])
  // A URL encodes characters outside of ASCII differently in its host and in its path.
  return (ascii ? publicUrl : new URL(publicUrl).href).replace(/\/+$/, '')
}
