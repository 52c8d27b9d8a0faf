import { uriPath } from './uri-path.ts'

/** The paths of this package's routes, to recognise requests that the router refused before it found a route. */
export class RoutePaths {
  readonly #routes: Array<{ readonly method: string | undefined, readonly path: RegExp }> = []

  /**
   * @param method `undefined`: any method
   * @param url the path with its prefix, as it was given to the router
   */
  add (method: string | undefined, url: string): void {
    this.#routes.push({ method, path: patternOf(url) })
  }

  has (method: string, path: string): boolean {
    return this.#routes.some((route) => (route.method === undefined || route.method === method) && route.path.test(path))
  }
}

/** A parameter matches any text, because the path of such a request could not even be decoded. */
function patternOf (url: string): RegExp {
  const segments = url.split('/').map((segment) => {
    if (segment === '*') return '.*'
    if (/[:*]/.test(segment.replaceAll('::', ''))) return '[^/]*'
    // As in a request: in Fastify's router, `::` stands for a colon in the path.
    return uriPath(segment.replaceAll('::', ':')).replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
  })
  return new RegExp(`^${segments.join('/')}$`)
}
