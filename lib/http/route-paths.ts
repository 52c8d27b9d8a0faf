import { uriPath } from './uri-path.ts'

/** The paths of our routes, for requests that the router has refused before it found one. */
export class RoutePaths {
  readonly #routes: Array<{ readonly method: string | undefined, readonly path: RegExp }> = []

  /**
   * @param method `undefined`: any
   * @param url with its prefix, as it was given to the router
   */
  add (method: string | undefined, url: string): void {
    this.#routes.push({ method, path: patternOf(url) })
  }

  has (method: string, path: string): boolean {
    return this.#routes.some((route) => (route.method === undefined || route.method === method) && route.path.test(path))
  }
}

/** Any text stands for a parameter: what is asked here could not even be decoded. */
function patternOf (url: string): RegExp {
  const segments = url.split('/').map((segment) => {
    if (segment === '*') return '.*'
    if (/[:*]/.test(segment.replaceAll('::', ''))) return '[^/]*'
    // As it comes in a request; the router takes two colons for one that is meant as such.
    return uriPath(segment.replaceAll('::', ':')).replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
  })
  return new RegExp(`^${segments.join('/')}$`)
}
