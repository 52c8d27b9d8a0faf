/**
 * The `config` of routes that a machine asks all the time: probes and scrapes. They leave no spans, and nothing may
 * refuse them, neither the limits of `@fastify/under-pressure` nor those of `@fastify/rate-limit`: an orchestrator
 * would kill a process whose probe is refused, and the metrics would be missing just when they are needed.
 */
export const PROBE_CONFIG = Object.freeze({ otel: false, pressureHandler: () => {}, rateLimit: false as const })
