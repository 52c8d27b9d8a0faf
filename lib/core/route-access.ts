/**
 * Who can reach a group of routes.
 *
 * - `none`: the group has no routes.
 * - `guarded`: a function of the application decides.
 * - `open`: everybody, and the application's options say that this is intended.
 * - `left-open`: everybody, and the options say nothing about it. In production a warning is logged.
 */
export type RouteAccess = 'none' | 'guarded' | 'open' | 'left-open'
