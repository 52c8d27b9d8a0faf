import { channel } from 'node:diagnostics_channel'

export const REGISTERED_CHANNEL = 'asyncendpoints.registered'

/**
 * Where the plugins publish the options they were registered with, for tools that watch an application start
 * (`fastify-async-endpoints doctor --app`). Costs nothing while no tool subscribes.
 */
export const REGISTERED = channel(REGISTERED_CHANNEL)
