import type { FastifyRequest } from 'fastify'
import type { JobRecord } from '../jobs/job.ts'

/**
 * Says who sends a request, for example `(request) => request.user.id`. Recorded with the job, and compared on every
 * read, cancel and redrive. `undefined`, `null` and `''` all mean: nobody in particular; what nobody submitted, nobody
 * (and only nobody) can read. What it throws is answered as a problem, with the error's own `statusCode`.
 */
export type OwnerFunction = (request: FastifyRequest) => string | null | undefined | Promise<string | null | undefined>

/** @throws {TypeError} when the function returns something else: an object would compare as equal to nothing */
export async function ownerOf (owner: OwnerFunction, request: FastifyRequest): Promise<string | undefined> {
  const name: unknown = await owner(request)
  if (name === undefined || name === null || name === '') return undefined
  if (typeof name !== 'string') throw new TypeError(`The owner function returned a value of type ${typeof name}; it must return a string or nothing`)
  return name
}

/** Without an owner function, knowing the 128-bit id is enough. */
export async function mayAccess (owner: OwnerFunction | undefined, request: FastifyRequest, job: JobRecord): Promise<boolean> {
  return owner === undefined || await ownerOf(owner, request) === job.owner
}
