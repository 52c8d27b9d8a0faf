import { AsyncEndpointsError } from '../core/errors.ts'
import type { JobDefinition } from './definition.ts'

/** Throws when a definition cannot be used in this process. */
export type DefinitionGuard = (definition: JobDefinition) => void

/** The jobs that this process knows, by name. Independent of routes: a worker-only process has no routes. */
export class JobRegistry {
  readonly #definitions = new Map<string, JobDefinition>()
  readonly #onAdded = new Set<(definition: JobDefinition) => void>()
  readonly #guards: DefinitionGuard[] = []

  /**
   * Lets somebody refuse definitions, by throwing: those that come, and at once those that are there.
   *
   * @throws what the guard throws about a definition that is there
   */
  guard (guard: DefinitionGuard): void {
    for (const definition of this.#definitions.values()) guard(definition)
    this.#guards.push(guard)
  }

  /** @throws {AsyncEndpointsError} what `add` would throw */
  assertFree (definition: JobDefinition): void {
    if (this.#definitions.has(definition.name)) {
      throw new AsyncEndpointsError('FAE_DUPLICATE_JOB', `A job named "${definition.name}" is already defined; names are unique per application`)
    }
    for (const guard of this.#guards) guard(definition)
  }

  /** @throws {AsyncEndpointsError} `FAE_DUPLICATE_JOB` when the name is taken: two handlers under one name are a mistake */
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

  /** Calls the listener for every definition, those already there first. */
  watch (listener: (definition: JobDefinition) => void): void {
    for (const definition of this.#definitions.values()) listener(definition)
    this.#onAdded.add(listener)
  }
}

export function unknownJob (name: string): AsyncEndpointsError {
  return new AsyncEndpointsError('FAE_UNKNOWN_JOB', `No job named "${name}" is defined here; call app.defineJob() or app.asyncEndpoint() first`)
}
