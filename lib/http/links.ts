import { invalidOptions } from '../core/options.ts'
import type { JobState } from '../jobs/states.ts'
import { uriPath } from './uri-path.ts'

/** Where to go from a job; only what makes sense in its present state is there. */
export interface Links {
  /** The status document. */
  readonly self: string
  /** The result: there once the job is completed, 409 before that. Absent when there will be none. */
  readonly result?: string
  /** POST here, or DELETE `self`. Absent when the job is over. */
  readonly cancel?: string
  /** POST here to run a failed job again. Absent when it was run again as often as `maxRedrives` allows. */
  readonly redrive?: string
}

/** Makes the links of jobs, from the path where the job routes live. */
export class JobLinks {
  /** Path (or, with `publicUrl`, URL) of the job routes, without a slash at the end. */
  readonly base: string

  constructor (prefix: string, jobsPath: string, publicUrl: string | undefined) {
    // A link goes into a header, where nothing but ASCII may stand (RFC 3986 §2). The router takes two colons for one that is meant as such.
    this.base = `${rootOf(publicUrl)}${uriPath(prefix.replace(/\/+$/, '').replaceAll('::', ':'))}${jobsPath}`
  }

  self (id: string): string { return `${this.base}/${id}` }

  result (id: string): string { return `${this.base}/${id}/result` }

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
  // Beyond ASCII, a URL writes its host and its path differently.
  return (ascii ? publicUrl : new URL(publicUrl).href).replace(/\/+$/, '')
}
