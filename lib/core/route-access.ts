/**
 * Who reaches a group of routes. `none`: there are none. `guarded`: a function of the application decides. `open`: everybody,
 * and the application says that this is intended. `left open`: everybody, and nobody has said anything about it.
 */
export type RouteAccess = 'none' | 'guarded' | 'open' | 'left open'
