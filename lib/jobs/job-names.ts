/**
 * The jobs of the application, by name: empty until the application declares them. Then `app.jobs` takes no other
 * name, and knows what each job takes and returns.
 *
 * ```ts
 * declare module 'fastify-async-endpoints' {
 *   interface JobNames {
 *     'generate-report': { body: { year: number }, result: { rows: number } }
 *   }
 * }
 * ```
 */
// An interface of a file of its own: only what a package passes on by `export *` can be extended from outside.
export interface JobNames {}
