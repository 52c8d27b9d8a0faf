import { AsyncEndpointsError } from '../core/errors.ts'
import type { JobDefinition } from './definition.ts'

/** Throws if a definition cannot be used in this process. */
export type DefinitionGuard = (definition: JobDefinition) => void

/** The jobs that this process knows, by name. Independent of routes: a worker-only process has no routes. */
export class JobRegistry {
  readonly #definitions = new Map<string, JobDefinition>()
  readonly #onAdded = new Set<(definition: JobDefinition) => void>()
  readonly #guards: DefinitionGuard[] = []

  /**
   * Adds a guard, which can refuse definitions by throwing. It is called at once for the existing definitions, and
   * later for each new one.
   *
   * @throws what the guard throws for an existing definition
   */
  guard (guard: DefinitionGuard): void {
    for (const definition of this.#definitions.values()) guard(definition)
    this.#guards.push(guard)
  }

  /** Throws what `add` would throw, without adding the definition. */
  assertFree (definition: JobDefinition): void {
    if (this.#definitions.has(definition.name)) {
      throw new AsyncEndpointsError('FAE_DUPLICATE_JOB',
        `A job named "${definition.name}" is already defined in this application; give the second one another name`)
    }
    for (const guard of this.#guards) guard(definition)
  }

  /**
   * @throws {AsyncEndpointsError} `FAE_DUPLICATE_JOB` if the name is already used: two handlers with one name are a
   * mistake
   */
  add (definition: JobDefinition): void {
    this.assertFree(definition)
    this.#definitions.set(definition.name, definition)
    for (const listener of this.#onAdded) listener(definition)
  }

  get (name: string): JobDefinition | undefined {
    return this.#definitions.get(name)
  }

  /** @throws {AsyncEndpointsError} `FAE_UNKNOWN_JOB` */
  require (name: string): JobDefinition {
    const definition = this.#definitions.get(name)
    if (definition === undefined) throw unknownJob(name)
    return definition
  }

  all (): JobDefinition[] {
    return [...this.#definitions.values()]
  }

  /** The distinct queues of all definitions, in order of definition. */
  queues (): string[] {
    return [...new Set(this.all().map((definition) => definition.queue))]
  }

  /** Calls the listener for every definition: at once for the existing ones, and later for each new one. */
  watch (listener: (definition: JobDefinition) => void): void {
    for (const definition of this.#definitions.values()) listener(definition)
    this.#onAdded.add(listener)
  }
}

export function unknownJob (name: string): AsyncEndpointsError {
  return new AsyncEndpointsError('FAE_UNKNOWN_JOB', `No job named "${name}" is defined in this process; call app.defineJob(), app.asyncEndpoint() or app.saga() first`)
}
