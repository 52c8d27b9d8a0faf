/**
 * Capability links: a link that opens one job to anybody who has it, until it expires. Its query parameter `sig` says which
 * key signed it, when it ends and what it allows. The name is one that HTTP instrumentation of OpenTelemetry redacts.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import type { OptionsSchema } from '../core/options.ts'

/** What the holder of a link may do: read the job, or also cancel it. */
export type LinkScope = 'read' | 'cancel'

/** A key that signs links. */
export interface LinkKey {
  /** Stands in every link that the key signed: 1 to 32 letters, digits, `_`, `-`. A key whose id is removed opens nothing. */
  id: string
  /** At least 32 bytes, and not derived from a password: `crypto.randomBytes(32).toString('base64url')` makes one. */
  secret: string | Uint8Array
}

/** `http.links`. */
export interface CapabilityLinkOptions {
  /** The first key signs; each of them is accepted. To rotate, put a new key in front and remove the old one after `ttlMs`. */
  keys: readonly LinkKey[]
  /**
   * The longest time that a link in a response lives, in milliseconds. It lives for at least seven eighths of it: links
   * that are made shortly after another are the same, so that the `ETag` of a status document does not change with
   * every request. A link opens nothing once its job is no longer stored.
   *
   * @defaultValue 86400000 (24 h)
   */
  ttlMs?: number | undefined
  /**
   * What the links in responses allow. With `'cancel'`, which includes `'read'`, `links.cancel` works without anything
   * else. With an empty list no link in a response is signed, and only `app.jobLink()` gives access.
   *
   * @defaultValue ['read']
   */
  scopes?: readonly LinkScope[] | undefined
}

/** The secrets are left out: their own check repeats nothing of them. */
export const linksSchema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['keys'],
  properties: {
    keys: {
      type: 'array',
      minItems: 1,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['id', 'secret'],
        properties: {
          id: { type: 'string', pattern: '^[A-Za-z0-9_-]{1,32}$', description: '1 to 32 letters, digits, "_" or "-"' },
          secret: {}
        }
      }
    },
    ttlMs: { type: 'number', minimum: 10_000, maximum: 31_536_000_000 },
    scopes: { type: 'array', items: { enum: ['read', 'cancel'] satisfies LinkScope[] } }
  }
}

const MIN_SECRET_BYTES = 32

/** What the schema does not see: secrets, and two keys with one id. */
export function linkProblems (given: CapabilityLinkOptions | undefined): string[] {
  const keys: unknown = given?.keys
  if (!Array.isArray(keys)) return []
  const seen = new Set<unknown>()
  return keys.flatMap((key: unknown, at) => {
    const { id, secret } = (key ?? {}) as { readonly id?: unknown, readonly secret?: unknown }
    const problems: string[] = []
    if (typeof secret !== 'string' && !(secret instanceof Uint8Array)) problems.push(`links.keys[${at}].secret must be a string or a Uint8Array`)
    else if (Buffer.byteLength(secret) < MIN_SECRET_BYTES) {
      problems.push(`links.keys[${at}].secret must have at least ${MIN_SECRET_BYTES} bytes; crypto.randomBytes(32).toString('base64url') makes one`)
    }
    if (seen.has(id)) problems.push(`links.keys[${at}].id is that of another key`)
    seen.add(id)
    return problems
  })
}

/** What a link of a request allows. */
export interface Grant {
  readonly jobId: string
  readonly scope: LinkScope
  /** When it ends, in milliseconds since the epoch. */
  readonly until: number
  /** The link's own text. */
  readonly sig: string
}

/** `<key id>.<seconds since the epoch>.<scope>.<HMAC-SHA256 as base64url>` */
const FORM = /^([\w-]{1,32})\.(\d{1,12})\.(read|cancel)\.([\w-]{43})$/

const DEFAULT_TTL_MS = 86_400_000
/** Links that are made within this part of their life are the same. */
const STEPS = 8

/** Signs and verifies the links of jobs. */
export class LinkSigner {
  readonly #keys: ReadonlyMap<string, string | Uint8Array>
  readonly #first: LinkKey
  readonly #ttlMs: number
  readonly #scopes: ReadonlySet<LinkScope>
  readonly #now: () => number

  /** @param now the time in milliseconds since the epoch */
  constructor ({ keys, ttlMs, scopes }: CapabilityLinkOptions, now: () => number) {
    const [first] = keys
    if (first === undefined) throw new TypeError('A LinkSigner needs a key')
    this.#first = first
    this.#keys = new Map(keys.map(({ id, secret }) => [id, secret]))
    this.#ttlMs = ttlMs ?? DEFAULT_TTL_MS
    // Who may cancel a job may read it: without its other links, the one to cancel it would be of no use.
    this.#scopes = new Set(scopes?.includes('cancel') === true ? ['read', 'cancel'] : scopes ?? ['read'])
    this.#now = now
  }

  /** The `sig` of a link in a response; `undefined` if such links do not have this scope. */
  sign (jobId: string, scope: LinkScope): string | undefined {
    if (!this.#scopes.has(scope)) return undefined
    const step = Math.max(1_000, Math.floor(this.#ttlMs / STEPS))
    return this.#signUntil(jobId, scope, Math.floor(this.#now() / step) * step + this.#ttlMs)
  }

  /** The `sig` of a link that lives for this long, whatever the scopes of links in responses are. */
  signFor (jobId: string, scope: LinkScope, ttlMs: number = this.#ttlMs): string {
    return this.#signUntil(jobId, scope, this.#now() + ttlMs)
  }

  /** @returns `undefined` if it is forged, has expired, is of another job, or of a key that was removed */
  verify (sig: string, jobId: string): Grant | undefined {
    const [, keyId = '', seconds = '', scope, mac = ''] = FORM.exec(sig) ?? []
    if (scope !== 'read' && scope !== 'cancel') return undefined
    const secret = this.#keys.get(keyId)
    if (secret === undefined) return undefined
    // Equal lengths: both are 43 characters of ASCII.
    const right = timingSafeEqual(Buffer.from(mac), Buffer.from(macOf(secret, jobId, scope, seconds)))
    const until = Number(seconds) * 1_000
    return right && until > this.#now() ? { jobId, scope, until, sig } : undefined
  }

  #signUntil (jobId: string, scope: LinkScope, until: number): string {
    const seconds = String(Math.floor(until / 1_000))
    const { id, secret } = this.#first
    return `${id}.${seconds}.${scope}.${macOf(secret, jobId, scope, seconds)}`
  }
}

/** The text begins with its purpose, so that a key which also signs something else gives no link. */
function macOf (secret: string | Uint8Array, jobId: string, scope: LinkScope, seconds: string): string {
  return createHmac('sha256', secret).update(`job-link\n${jobId}\n${scope}\n${seconds}`).digest('base64url')
}

/** The texts of a request that may be links: the parameters `sig`, in order, and the bearer token. */
export function sigsOf (request: FastifyRequest): readonly string[] {
  const sigs = sigParameters(request)
  const bearer = /^bearer +([^ ]+)$/i.exec(request.headers.authorization ?? '')?.[1]
  return bearer === undefined || !FORM.test(bearer) ? sigs : [...sigs, bearer]
}

/** The parameters `sig` of a request, in order. */
export function sigParameters ({ query }: Pick<FastifyRequest, 'query'>): readonly string[] {
  const sig: unknown = Reflect.get(Object(query), 'sig')
  return (Array.isArray(sig) ? sig : [sig]).filter((text) => typeof text === 'string')
}

/** The grants by which requests got access, by job. A request that needed none has none. */
const GRANTS = new WeakMap<FastifyRequest, Map<string, Grant>>()

/** Notes that the request got access to a job by this grant. */
export function noteGrant (request: FastifyRequest, grant: Grant): void {
  const noted = GRANTS.get(request)
  if (noted === undefined) GRANTS.set(request, new Map([[grant.jobId, grant]]))
  else noted.set(grant.jobId, grant)
}

/** The grant by which the request got access to the job; `undefined` if it needed none, or has no access. */
export function grantOf (request: FastifyRequest, jobId: string): Grant | undefined {
  return GRANTS.get(request)?.get(jobId)
}
