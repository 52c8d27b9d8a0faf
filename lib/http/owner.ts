import type { FastifyRequest } from 'fastify'
import type { JobRecord } from '../jobs/job.ts'

/**
 * Says who sends a request, for example `(request) => request.user.id`. Recorded with the job, and compared on every
 * read, cancel and redrive. `undefined`, `null` and `''` all mean: nobody in particular; a job that nobody in particular
 * has submitted can be read by requests of nobody in particular, and by no other. What the function throws is answered
 * as a problem, with the error's own `statusCode`.
 *
 * On the job routes it is asked before the job is looked for, so it cannot depend on the job.
 */
export type OwnerFunction = (request: FastifyRequest) => string | null | undefined | Promise<string | null | undefined>

/** @throws {TypeError} when the function returns something else: an object would compare as equal to nothing */
export async function ownerOf (owner: OwnerFunction, request: FastifyRequest): Promise<string | undefined> {
  const name: unknown = await owner(request)
  if (name === undefined || name === null || name === '') return undefined
  if (typeof name !== 'string') throw new TypeError(`The owner function returned a value of type ${typeof name}; it must return a string or nothing`)
  return name
}

/** What one owner function said about a request. */
type Answer = { readonly owner: string | undefined } | { readonly thrown: unknown }

/** The part of an endpoint that decides who may see its jobs. */
interface OwnedEndpoint { readonly owner: OwnerFunction | undefined }

/** Who sends one request to the job routes, according to every owner function of the application. */
export interface Viewer {
  /** Whether this request may see the job. */
  maySee (job: JobRecord): boolean
  /**
   * Throws what the owner functions threw, if all of them did; otherwise does nothing. It does not depend on a job: an
   * id that is unknown and one that is somebody else's are answered in the same way.
   */
  throwIfRefused (): void
}

/**
 * Decides who may see which job. Every owner function is asked about every request, before the store is: which of them
 * counts is known only when the job is read, and asking it then would tell by its duration, or by what it throws, that
 * the job exists.
 */
export class Ownership {
  readonly #shared: OwnerFunction | undefined
  readonly #endpoints: ReadonlyMap<string, OwnedEndpoint>
  readonly #required: boolean
  #functions: readonly OwnerFunction[] | undefined

  /**
   * @param shared the plugin's function, for jobs without an endpoint here
   * @param endpoints by job name; complete when the first request comes
   * @param required a job that no owner function speaks for is shown to nobody, even if it has no owner
   */
  constructor (shared: OwnerFunction | undefined, endpoints: ReadonlyMap<string, OwnedEndpoint>, required: boolean) {
    this.#shared = shared
    this.#endpoints = endpoints
    this.#required = required
  }

  async ask (request: FastifyRequest): Promise<Viewer> {
    // Endpoints are defined before the application is ready, and requests come after that.
    this.#functions ??= this.#distinct()
    const asked = await Promise.all(this.#functions.map(async (owner) => [owner, await answerOf(owner, request)] as const))
    const answers = new Map(asked)
    return {
      maySee: (job) => this.#maySee(job, answers),
      throwIfRefused: () => { throwIfAllThrew(asked.map(([, answer]) => answer)) }
    }
  }

  #maySee (job: JobRecord, answers: ReadonlyMap<OwnerFunction, Answer>): boolean {
    const owner = this.#endpoints.get(job.name)?.owner ?? this.#shared
    // Without an owner function a job that has an owner is shown to nobody: this process cannot compare.
    if (owner === undefined) return job.owner === undefined && !this.#required
    const answer = answers.get(owner)
    return answer !== undefined && 'owner' in answer && answer.owner === job.owner
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

/** One that answered is enough to go on: an endpoint for administrators must not shut out the clients of another. */
function throwIfAllThrew (answers: readonly Answer[]): void {
  const [first] = answers
  if (first !== undefined && 'thrown' in first && answers.every((answer) => 'thrown' in answer)) throw first.thrown
}
