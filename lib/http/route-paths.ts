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
  const segments = url.split('/').map((segment) => segment === '*' ? '.*' : /[:*]/.test(segment) ? '[^/]*' : segment.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  return new RegExp(`^${segments.join('/')}$`)
}
