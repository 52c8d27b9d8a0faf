/** `GET /jobs`: the jobs of an owner, or of everybody. It exists only where `http.authorize` decides who may see it. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { ListOptions } from '../client/jobs.ts'
import { DELIVERY_JOB, DELIVERY_QUEUE } from '../events/webhook-catalogue.ts'
import type { JobRecord } from '../jobs/job.ts'
import { JOB_STATES, type JobState } from '../jobs/states.ts'
import { askAuthorize, type AuthorizeFunction, type Verdict } from './authorize.ts'
import { linksOfLister } from './client-links.ts'
import { described } from './described-route.ts'
import { statusDocument, type StatusDocument } from './document.ts'
import { hiddenSig } from './hidden-sig.ts'
import { correlationHook, exposureOf, problemHandler, type HttpRuntime } from './http-runtime.ts'
import type { Links } from './links.ts'
import type { Viewer } from './owner.ts'
import { ownCompilers } from './own-compilers.ts'
import { invalidQuery, type QueryProblem } from './query-names.ts'
import { asJson } from './responses.ts'
import { jsonResponse, listSchema, problemResponse } from './schemas.ts'
import { admissionOf } from './shown-job.ts'

/** A status document in a list. Its links are those that work for the client without a signature; there may be none. */
export type ListedJob = Omit<StatusDocument, 'links'> & { readonly links: Partial<Links> }

/** The body of `GET /jobs`. */
export interface JobListDocument {
  readonly jobs: readonly ListedJob[]
  /** The `cursor` of the next page. Absent on the last one. */
  readonly cursor?: string | undefined
}

const DEFAULT_LIMIT = 20
const MAX_LIMIT = 100
/** Longer than any name, queue or owner that a job can have, and than any cursor of a store. */
const MAX_TEXT = 2_000

const text = (description: string): object => ({ type: 'string', maxLength: MAX_TEXT, description })
const query = {
  type: 'object',
  additionalProperties: false,
  properties: {
    state: { type: 'string', enum: [...JOB_STATES] },
    name: text('The name of the job\'s definition'),
    queue: text('The queue of the job'),
    owner: text('Whose jobs'),
    cursor: text('The `cursor` of the page before'),
    limit: { type: 'integer', minimum: 1, maximum: MAX_LIMIT, default: DEFAULT_LIMIT }
  }
}

/** Adds the route, if the application has said who may use it. */
export function addListRoute (app: FastifyInstance, http: HttpRuntime): void {
  const { authorize } = http.options
  if (authorize === undefined) return
  const schema = described(app, http, 'listJobs', {
    summary: 'A page of jobs, without what was submitted and without results',
    params: { type: 'object', properties: {} },
    response: {
      200: jsonResponse('A page of jobs; `Link` has the address of the next one', listSchema),
      400: problemResponse('The query is not valid; `errors` lists everything that is wrong with it'),
      404: problemResponse('The client may not list jobs'),
      503: problemResponse('The job store cannot be reached')
    }
  })
  const route = {
    url: http.options.path,
    exposeHeadRoute: false,
    schema: { ...schema, querystring: query },
    ...ownCompilers,
    ...hiddenSig(app, http),
    config: { asyncEndpoints: { kind: 'list' as const }, otel: false },
    onRequest: correlationHook(http),
    errorHandler: problemHandler(http, http.options.responses, undefined),
    handler: async (request: FastifyRequest, reply: FastifyReply) => await sendList(http, authorize, request, reply)
  }
  app.route({ ...route, method: 'GET' })
  app.route({ ...route, method: 'HEAD' })
  http.paths.add('GET', app.prefix + http.options.path)
  http.paths.add('HEAD', app.prefix + http.options.path)
}

async function sendList (http: HttpRuntime, authorize: AuthorizeFunction, request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
  const verdict = await askAuthorize(authorize, request, { action: 'list' })
  // The same as where there is no list.
  if (verdict === false) throw Object.assign(new Error('There is no route at this path'), { statusCode: 404 })
  const asked = readQuery(request.query)
  reply.header('cache-control', 'private, no-store')
  const wanted = restricted(asked, verdict)
  const { jobs, cursor } = wanted === undefined ? { jobs: [] } : await http.jobs.list(withoutDeliveries(http, wanted))
  if (cursor !== undefined) reply.header('link', `<${nextPage(http, asked, cursor)}>; rel="next"`)
  const viewer = await http.ownership.ask(request)
  const documents = await Promise.all(jobs.map(async (job) => await shown(http, viewer, request, job)))
  return asJson(reply, { jobs: documents, cursor } satisfies JobListDocument)
}

/** The query for what the request may see; `undefined`: nothing. */
function restricted (asked: ListOptions, verdict: Verdict): ListOptions | undefined {
  if (typeof verdict === 'boolean') return asked
  const { owner } = verdict
  return owner === undefined || (asked.owner !== undefined && asked.owner !== owner) ? undefined : { ...asked, owner }
}

/** A list is shown to a person who sees the jobs of many: it gives away no links to them. */
/**
 * A client that has submitted one job would see two: the delivery of its webhook is a job as well. Deliveries are shown
 * to those who ask for them, by their name or their queue.
 */
function withoutDeliveries ({ webhooks }: HttpRuntime, asked: ListOptions): ListOptions {
  const { name, queue } = asked
  if (name !== undefined || (queue !== undefined && queue === (webhooks?.queue ?? DELIVERY_QUEUE))) return asked
  return { ...asked, exceptName: DELIVERY_JOB }
}

async function shown (
  http: HttpRuntime, viewer: Viewer, request: FastifyRequest, job: JobRecord
): Promise<ListedJob> {
  const plan = http.runtime.registry.get(job.name)?.saga
  const links = await linksOfLister(http, viewer, request, job)
  const document = statusDocument(job, links, exposureOf(http, job), admissionOf(http, job).maxRedrives, plan)
  const { self, ...others } = document.links
  return { ...document, links: links.may.read ? document.links : others }
}

function nextPage ({ links }: HttpRuntime, { cursor: _, ...asked }: ListOptions, cursor: string): string {
  const parameters = Object.entries({ ...asked, cursor }).map(([name, value]): [string, string] => [name, String(value)])
  return `${links.base}?${new URLSearchParams(parameters).toString()}`
}

/** @throws {AsyncEndpointsError} `FAE_INVALID_REQUEST`, with everything that is wrong */
function readQuery (given: unknown): ListOptions {
  const problems: QueryProblem[] = []
  const wrong = (name: string, message: string): undefined => { problems.push({ name, message }) }
  const read: { -readonly [Key in keyof ListOptions]: ListOptions[Key] } = { limit: DEFAULT_LIMIT }
  for (const [name, value] of Object.entries(Object(given) as Record<string, unknown>).slice(0, MAX_LIMIT)) {
    if (!Object.hasOwn(query.properties, name)) wrong(name, 'is no parameter of a list')
    else if (typeof value !== 'string') wrong(name, 'must be given once')
    else if (value === '' || value.length > MAX_TEXT) wrong(name, `must be a text of 1 to ${MAX_TEXT} characters`)
    else if (name === 'limit') read.limit = limitIn(value) ?? wrong(name, `must be an integer from 1 to ${MAX_LIMIT}`)
    else if (name === 'state') read.state = stateIn(value) ?? wrong(name, `must be one of ${JOB_STATES.join(', ')}`)
    else read[name as 'name' | 'queue' | 'owner' | 'cursor'] = value
  }
  if (problems.length === 0) return read
  throw invalidQuery(problems)
}

function limitIn (value: string): number | undefined {
  const limit = /^\d{1,3}$/.test(value) ? Number(value) : 0
  return limit >= 1 && limit <= MAX_LIMIT ? limit : undefined
}

function stateIn (value: string): JobState | undefined {
  return JOB_STATES.find((state) => state === value)
}
