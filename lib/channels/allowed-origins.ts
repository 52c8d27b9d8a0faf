/** From which pages a browser may open a WebSocket. */

/** The part of a Fastify request that is read. */
export interface OriginRequest {
  /** Behind a trusted proxy, the host that the proxy was asked for. */
  readonly host: string
  readonly headers: { readonly origin?: string | undefined }
}

/**
 * Browsers send cookies with a WebSocket to any server and ask for no permission (CORS does not apply). Without this
 * check, a page of anybody could listen in the name of a user who is logged in.
 */
export class AllowedOrigins {
  readonly #listed: ReadonlySet<string> | undefined

  /**
   * @param listed origins such as `https://shop.example`; `'*'` among them allows every origin. Absent: only pages of
   * the host that the request is for
   */
  constructor (listed: readonly string[] | undefined) {
    this.#listed = listed === undefined ? undefined : new Set(listed.map(normalised))
  }

  /**
   * Only browsers send `Origin`, and every browser does so for a WebSocket (RFC 6455 §4.1). A request without it comes
   * from another program, which no page controls.
   */
  allow ({ headers: { origin }, host }: OriginRequest): boolean {
    if (origin === undefined) return true
    if (this.#listed !== undefined) return this.#listed.has('*') || this.#listed.has(normalised(origin))
    return isSameHost(origin, host)
  }
}

/** One sentence for each entry of the option that is no origin. */
export function originProblems (where: string, origins: readonly unknown[]): string[] {
  return origins.filter((origin) => !isOrigin(origin)).map((origin) =>
    `${where}: ${JSON.stringify(origin)} is not an origin like "https://shop.example" or "*"`)
}

function isOrigin (value: unknown): boolean {
  if (typeof value !== 'string') return false
  if (value === '*') return true
  const url = urlOf(value)
  return url !== undefined && url.host !== '' && normalised(value) === value.toLowerCase()
}

/** As a browser writes it: lower case, without the default port. */
function normalised (origin: string): string {
  const url = urlOf(origin)
  return url === undefined || url.host === '' ? origin : `${url.protocol}//${url.host}`
}

/**
 * The schemes are not compared: behind a proxy that ends TLS, the request of a page on `https:` arrives by `http:`.
 */
function isSameHost (origin: string, host: string): boolean {
  const page = urlOf(origin)
  if (page === undefined || (page.protocol !== 'https:' && page.protocol !== 'http:')) return false
  const server = urlOf(`${page.protocol}//${host}`)
  return server !== undefined && server.host === page.host
}

function urlOf (text: string): URL | undefined { return URL.canParse(text) ? new URL(text) : undefined }
