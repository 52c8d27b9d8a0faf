import type { FastifyRequest } from 'fastify'
import type { JobRecord } from '../jobs/job.ts'
import type { Verdict } from './authorize.ts'

/** Who may use the job routes. */
export type HttpAccess = 'owner' | 'link' | 'open'

/**
 * Returns the owner of a request, for example `(request) => request.user.id`. The owner is stored with a submitted
 * job and compared on every read, cancel and redrive. `undefined`, `null` and `''` mean that there is no owner; a job
 * without an owner can only be seen by requests without an owner. If the function throws, the request is answered
 * with a problem document that has the error's own `statusCode`.
 *
 * On the job routes the function is called before the job is read, so it cannot depend on the job.
 */
export type OwnerFunction = (request: FastifyRequest) => string | null | undefined | Promise<string | null | undefined>

/** @throws {TypeError} if the function returns anything else: an object would never equal a stored owner */
export async function ownerOf (owner: OwnerFunction, request: FastifyRequest): Promise<string | undefined> {
  const name: unknown = await owner(request)
  if (name === undefined || name === null || name === '') return undefined
  if (typeof name !== 'string') throw new TypeError(`The owner function returned a value of type ${typeof name}; it must return a string or nothing`)
  return name
}

/** What one owner function returned or threw for a request. */
type Answer = { readonly owner: string | undefined } | { readonly thrown: unknown }

/** What the owner functions said about a request on the job routes. */
const VIEWERS = new WeakMap<FastifyRequest, Viewer>()

/** What {@link Ownership.ask} found out last about the request; `undefined`: it was not asked. */
export function viewerOf (request: FastifyRequest): Viewer | undefined { return VIEWERS.get(request) }

/** The part of an endpoint that decides who may see its jobs. */
interface OwnedEndpoint { readonly owner: OwnerFunction | undefined }

/** The owner of one request to the job routes, according to every owner function of the application. */
export interface Viewer {
  /**
   * Whether this request may see the job.
   *
   * @param verdict what `http.authorize` said; `undefined` if there is no such function
   */
  maySee (job: JobRecord, verdict?: Verdict): boolean
  /**
   * Throws the error of an owner function if all of them threw; otherwise does nothing. It does not depend on the
   * job, so that an unknown id and the id of another owner's job get the same answer.
   */
  throwIfRefused (): void
}

/**
 * Decides who may see which job. Every owner function is called for every request, before the store is asked. Which
 * function applies is known only when the job is read, and calling it only then would reveal, by its duration or by
 * what it throws, that the job exists.
 */
export class Ownership {
  readonly #shared: OwnerFunction | undefined
  readonly #endpoints: ReadonlyMap<string, OwnedEndpoint>
  readonly #access: HttpAccess | undefined
  #functions: readonly OwnerFunction[] | undefined

  /**
   * @param shared the plugin's owner function, for jobs whose endpoint is not defined in this process
   * @param endpoints by job name; complete when the first request comes
   * @param access `owner`: a job for which there is no owner function is shown to nobody, even if it has no owner.
   * `link`: in addition, a job without an owner is nobody's
   */
  constructor (
    shared: OwnerFunction | undefined, endpoints: ReadonlyMap<string, OwnedEndpoint>, access: HttpAccess | undefined
  ) {
    this.#shared = shared
    this.#endpoints = endpoints
    this.#access = access
  }

  async ask (request: FastifyRequest): Promise<Viewer> {
    // All endpoints are defined before the application is ready, so before the first request.
    this.#functions ??= this.#distinct()
    const asked = await Promise.all(this.#functions.map(async (owner) => [owner, await answerOf(owner, request)] as const))
    const answers = new Map(asked)
    const viewer: Viewer = {
      maySee: (job, verdict) => this.#maySee(job, answers, verdict),
      throwIfRefused: () => { throwIfAllThrew(asked.map(([, answer]) => answer)) }
    }
    VIEWERS.set(request, viewer)
    return viewer
  }

  /** Who has just submitted a job, without asking again. @param owner the function that said `name` */
  viewerAs (owner: OwnerFunction | undefined, name: string | undefined): Viewer {
    const answers = new Map<OwnerFunction, Answer>(owner === undefined ? [] : [[owner, { owner: name }]])
    return { maySee: (job, verdict) => this.#maySee(job, answers, verdict), throwIfRefused: () => {} }
  }

  #maySee (job: JobRecord, answers: ReadonlyMap<OwnerFunction, Answer>, verdict: Verdict | undefined): boolean {
    if (verdict === false) return false
    // Somebody who is not signed in acts for nobody, and must not get what only a link gives.
    const nobodys = job.owner === undefined && this.#access === 'link'
    if (typeof verdict === 'object') return verdict.owner === job.owner && !nobodys
    const owner = this.#endpoints.get(job.name)?.owner ?? this.#shared
    if (owner === undefined) {
      if (this.#access === 'owner') return false
      if (verdict === true) return true
      // A job with an owner is shown to nobody if there is no owner function to compare with.
      return job.owner === undefined && !nobodys
    }
    const answer = answers.get(owner)
    if (answer === undefined || !('owner' in answer) || answer.owner !== job.owner) return false
    return !nobodys
  }

  #distinct (): OwnerFunction[] {
    const all = [this.#shared, ...[...this.#endpoints.values()].map(({ owner }) => owner)]
    return [...new Set(all.filter((owner) => owner !== undefined))]
  }
}

async function answerOf (owner: OwnerFunction, request: FastifyRequest): Promise<Answer> {
  try {
    return { owner: await ownerOf(owner, request) }
  } catch (thrown) {
    return { thrown }
  }
}

/**
 * One function that returned is enough: the owner function of an endpoint for administrators must not lock out other
 * clients.
 */
function throwIfAllThrew (answers: readonly Answer[]): void {
  const [first] = answers
  if (first !== undefined && 'thrown' in first && answers.every((answer) => 'thrown' in answer)) throw first.thrown
}
