import { AsyncEndpointsError } from '../core/errors.ts'
import { assertKnown } from '../core/known-options.ts'
import type { LinkScope } from './capability.ts'
import type { HttpRuntime } from './http-runtime.ts'

/** What a link of `app.jobLink()` allows, and for how long. */
export interface JobLinkOptions {
  /** `'cancel'` allows both: reading the job, and cancelling it. @defaultValue 'read' */
  readonly scope?: LinkScope | undefined
  /** How long it lives, in milliseconds: 1 s to a year. It opens nothing once the job is no longer stored. @defaultValue `http.links.ttlMs` */
  readonly ttlMs?: number | undefined
}

/** Gives somebody access to one job, for example in an e-mail. It does not look whether the job exists. */
export type JobLinkFunction = (id: string, options?: JobLinkOptions) => string

const MAX_TTL_MS = 31_536_000_000
// A misspelt lifetime would make a link that lives for a day.
const KNOWN: Readonly<Record<keyof JobLinkOptions, true>> = { scope: true, ttlMs: true }

/** Makes `app.jobLink`. @param http `undefined` in a process without job routes */
export function jobLinkFunction (http: Pick<HttpRuntime, 'links' | 'signer'> | undefined): JobLinkFunction {
  return (id, options = {}) => {
    assertKnown(() => 'app.jobLink', KNOWN, options)
    const { scope = 'read', ttlMs } = options
    if (http?.signer === undefined) return refuse('app.jobLink() needs http.links: { keys: [{ id, secret }] }')
    if (typeof id !== 'string' || !/^[A-Za-z0-9_-]{1,128}$/.test(id)) return refuse('app.jobLink() needs the id of a job')
    if (scope !== 'read' && scope !== 'cancel') {
      return refuse('app.jobLink(): scope must be "read", or "cancel", which allows both')
    }
    if (ttlMs !== undefined && !(ttlMs >= 1_000 && ttlMs <= MAX_TTL_MS)) {
      return refuse(`app.jobLink(): ttlMs must be a number from 1000 to ${MAX_TTL_MS}`)
    }
    return `${http.links.base}/${id}?sig=${http.signer.signFor(id, scope, ttlMs)}`
  }
}

function refuse (message: string): never { throw new AsyncEndpointsError('FAE_INVALID_OPTIONS', message) }
