import { invalidOptions } from '../core/options.ts'
import type { JobState } from '../jobs/states.ts'
import type { Grant, LinkScope } from './capability.ts'
import { uriPath } from './uri-path.ts'

/**
 * The links of a job. Only those are present that are useful in its present state and work for the client that gets
 * them. `self` is in every document about one job, because it also names the job.
 */
export interface Links {
  /** The status document. */
  readonly self: string
  /** The result: 409 until the job is completed. Absent if there will be no result. */
  readonly result?: string
  /** POST here, or DELETE `self`, to cancel the job. Absent if the job has ended. */
  readonly cancel?: string
  /** Server-sent events about the job. Absent if the job has ended, and if the application has no streams. */
  readonly events?: string
  /**
   * The WebSocket of all jobs, to which a client subscribes with the job's id: a path, or a URL that begins with `ws:`
   * or `wss:`. Absent if the job has ended, and if the application has no WebSocket.
   */
  readonly socket?: string
  /** POST here to run a failed job again. Absent when it was run again as often as `maxRedrives` allows. */
  readonly redrive?: string
  /** POST here what a saga waits for, by the name of the signal. */
  readonly signals?: Readonly<Record<string, string>> | undefined
}

/** The `sig` of a link; `undefined`: it has none. */
export type SignLink = (jobId: string, scope: LinkScope) => string | undefined

const UNSIGNED: SignLink = () => undefined

/** What a client may do with a job without a signature. */
export interface LinkRights {
  readonly read: boolean
  readonly cancel: boolean
  readonly redrive: boolean
  readonly signal: boolean
}

const EVERY_RIGHT: LinkRights = Object.freeze({ read: true, cancel: true, redrive: true, signal: true })
export const NO_RIGHTS: LinkRights = Object.freeze({ read: false, cancel: false, redrive: false, signal: false })

export interface JobLinksOptions {
  /** Gives the links that a client needs nothing else for. */
  readonly sign?: SignLink | undefined
  /** What the client may do that gets the links. @defaultValue everything */
  readonly may?: LinkRights | undefined
  /** The application has streams of server-sent events. @defaultValue false */
  readonly streams?: boolean | undefined
  /** The application has a WebSocket. @defaultValue false */
  readonly sockets?: boolean | undefined
}

/** Makes the links of jobs from the path of the job routes. */
export class JobLinks {
  /** The path (or, with `publicUrl`, the URL) of the job routes, without a slash at the end. */
  readonly base: string
  /** What the client may do that gets the links. */
  readonly may: LinkRights
  /** The WebSocket; `undefined`: there is none. */
  readonly socket: string | undefined
  readonly #sign: SignLink
  readonly #streams: boolean

  constructor (
    prefix: string, jobsPath: string, publicUrl: string | undefined,
    { sign = UNSIGNED, may = EVERY_RIGHT, streams = false, sockets = false }: JobLinksOptions = {}
  ) {
    this.may = may
    this.#sign = sign
    this.#streams = streams
    // A link goes into a header, which must be ASCII (RFC 3986 §2). In Fastify's router, `::` stands for a colon in
    // the path.
    this.base = `${rootOf(publicUrl)}${uriPath(prefix.replace(/\/+$/, '').replaceAll('::', ':'))}${jobsPath}`
    this.socket = sockets ? `${this.base.replace(/^http/, 'ws')}/socket` : undefined
  }

  /** The same links for a client that has this link of the job. */
  limitedTo (grant: Grant): JobLinks {
    const sign: SignLink = (id, scope) => id === grant.jobId && (scope === 'read' || grant.scope === scope) ? grant.sig : undefined
    return new JobLinks('', this.base, undefined, { ...this.#channels(), sign, may: NO_RIGHTS })
  }

  /**
   * The same links for a client that may do only this, beside what signatures allow.
   *
   * @param isSubmitter the client gets the signatures for everything. Others get none to cancel a job that they may not
   * cancel
   */
  within (may: LinkRights, isSubmitter = false): JobLinks {
    const all = this.#sign
    const toRead: SignLink = (id, scope) => scope === 'cancel' ? undefined : all(id, scope)
    const sign = may.cancel || isSubmitter ? all : toRead
    return new JobLinks('', this.base, undefined, { ...this.#channels(), sign, may })
  }

  /** The same links without signatures, for documents that show many jobs. */
  unsigned (): JobLinks { return new JobLinks('', this.base, undefined, this.#channels()) }

  self (id: string): string { return `${this.base}/${id}${this.#query(id, 'read')}` }

  result (id: string): string { return `${this.base}/${id}/result${this.#query(id, 'read')}` }

  /** @param name of the signal: letters, digits, `_`, `.` and `-` */
  signal (id: string, name: string): string { return `${this.base}/${id}/signals/${name}` }

  of (id: string, state: JobState, mayRedrive = true): Links {
    const at = `${this.base}/${id}`
    const { may } = this
    const read = this.#query(id, 'read')
    const reads = may.read || read !== ''
    const self = at + read
    switch (state) {
      case 'completed': return reads ? { self, result: `${at}/result${read}` } : { self }
      case 'failed': return mayRedrive && may.redrive ? { self, redrive: `${at}/redrive` } : { self }
      case 'cancelled': return { self }
      default: {
        const cancel = this.#query(id, 'cancel')
        return {
          self,
          ...(reads ? { result: `${at}/result${read}` } : undefined),
          ...(may.cancel || cancel !== '' ? { cancel: `${at}/cancel${cancel}` } : undefined),
          ...(reads && this.#streams ? { events: `${this.base}/events?id=${id}${read.replace('?', '&')}` } : undefined),
          ...(reads && this.socket !== undefined ? { socket: this.socket } : undefined)
        }
      }
    }
  }

  #channels (): JobLinksOptions { return { streams: this.#streams, sockets: this.socket !== undefined } }

  #query (id: string, scope: LinkScope): string {
    const sig = this.#sign(id, scope)
    return sig === undefined ? '' : `?sig=${sig}`
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
