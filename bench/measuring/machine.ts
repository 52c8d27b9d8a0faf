/** What a benchmark asks of the machine and of the Redis server. */
import { execFile } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { promisify } from 'node:util'
import type { Redis } from 'ioredis'

/**
 * Ties a process to one processor. Two processes that wake each other all the time are put on the same processor half of the
 * time, and then everything takes twice as long.
 *
 * @returns whether it was done: not every system has the command, or more than one processor
 */
export async function pin (pid: number | undefined, processor: number): Promise<boolean> {
  if (pid === undefined || availableParallelism() < 2) return false
  return await promisify(execFile)('taskset', ['-a', '-c', '-p', String(processor), String(pid)]).then(() => true, () => false)
}

/** @returns microseconds of CPU that the server has used since it started */
export async function serverMicros (redis: Redis): Promise<number> {
  const info = await redis.info('cpu')
  const seconds = (name: string): number => Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(info)?.[1] ?? NaN)
  return (seconds('used_cpu_user') + seconds('used_cpu_sys')) * 1e6
}

/** @returns how often the server has run each command since it started, those inside of scripts included */
export async function commandCalls (redis: Redis): Promise<Map<string, number>> {
  const info = await redis.info('commandstats')
  return new Map([...info.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)].map(([, name = '', calls]) => [name, Number(calls)]))
}
