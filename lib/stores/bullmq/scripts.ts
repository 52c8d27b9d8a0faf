/** Our own Lua. One script is one step that nobody can see half done. Every key of a queue has the same hash tag. */
import { createHash } from 'node:crypto'
import { CANCELLED_MARK } from './envelope.ts'
import { DELAYED_SCORE, FIELD, KEY, LOCK, LOG, PRIORITY_SCORE, type Client } from './internals.ts'
import { forget, KEEP, OWN, sweep } from './keeping.ts'
import { page } from './list-script.ts'
import { RECORD_FIELDS } from './record.ts'
import { repairScripts } from './repair-scripts.ts'
import { SHARED_SCRIPTS } from './shared-scripts.ts'

const READ = `local call = redis.call
local function read (job)
  local fields = call('HMGET', job, ${RECORD_FIELDS.map((field) => `'${field}'`).join(', ')})
  if not fields[1] then return nil end
  return fields, call('EXISTS', job .. '${LOCK}')
end
`
const at = (field: typeof RECORD_FIELDS[number]): string => `fields[${RECORD_FIELDS.indexOf(field) + 1}]`
const isCancelled = (lua: string): string => `(${lua} and string.sub(${lua}, 1, ${CANCELLED_MARK.length}) == '${CANCELLED_MARK}')`

// Ends a job as cancelled, once it stands in none of BullMQ's lines any more. Needs `KEEP`; the limits follow.
const END_CANCELLED = `local function endCancelled (queue, id, reason, now, ...)
  local job = queue .. id
  -- The reason of the request to cancel is kept, rather than the reason that the attempt gives.
  local asked = call('HGET', job, '${FIELD.deferredFailure}')
  if asked and string.sub(asked, 1, 4) == '{"m"' then reason = '${CANCELLED_MARK},' .. string.sub(asked, 2) end
  call('HSET', job, '${FIELD.failedReason}', reason, '${FIELD.finishedOn}', now, '${FIELD.delay}', 0)
  call('HDEL', job, '${FIELD.deferredFailure}', '${FIELD.data}')
  call('ZADD', queue .. '${KEY.failed}', now, id)
  call('ZADD', queue .. '${OWN.cancelled}', now, id)
  call('ZREM', queue .. '${OWN.cancelling}', id)
  dropInput(queue, id)
  keep(queue, id, '${KEY.failed}', tonumber(now), 0, ownerIn(call('HGET', job, '${FIELD.opts}')), ...)
end
`

// KEYS: prefixes of the queues the job may be in. ARGV: id. Answer: number of the queue, fields, locked.
const lookup = `${READ}
for i = 1, #KEYS do
  local fields, locked = read(KEYS[i] .. ARGV[1])
  if fields then return { i, fields, locked } end
end
return false`

// KEYS: prefixes. ARGV: id. Answer: number of the queue, fields, locked, data. The only read of what was submitted.
const input = `${READ}
for i = 1, #KEYS do
  local fields, locked = read(KEYS[i] .. ARGV[1])
  if fields then return { i, fields, locked, call('HGET', KEYS[i] .. ARGV[1], '${FIELD.data}') } end
end
return false`

// KEYS: prefixes. ARGV: id. Answer: number of the queue, when the job ended, its result.
const result = `for i = 1, #KEYS do
  local job = KEYS[i] .. ARGV[1]
  local ended = redis.call('HMGET', job, '${FIELD.finishedOn}', '${FIELD.returnvalue}')
  if ended[1] and ended[2] then return { i, ended[1], redis.call('LINDEX', job .. '${LOG}', 0) } end
end
return false`

/*
 * KEYS: prefixes. ARGV: id, reason for the end, reason while in the line, reason for a running attempt, now, channel,
 * limits. Taking a job out of the list of waiting jobs would mean searching the list. So it is only marked there, and the worker
 * that takes it ends it as cancelled.
 */
const cancel = `${READ}${KEEP}${END_CANCELLED}
for i = 1, #KEYS do
  local queue, id = KEYS[i], ARGV[1]
  local job = queue .. id
  local fields, locked = read(job)
  if fields then
    local deferred = ${at(FIELD.deferredFailure)}
    if ${at(FIELD.finishedOn)} then
      return { i, fields, locked, ${isCancelled(at(FIELD.failedReason))} and 'already' or 'finished' }
    end
    if ${isCancelled('deferred')} then return { i, fields, locked, 'already' } end
    if locked == 1 then
      if not deferred then call('HSET', job, '${FIELD.deferredFailure}', ARGV[4]) end
      call('PUBLISH', ARGV[6], id)
      fields, locked = read(job)
      return { i, fields, locked, 'requested' }
    end
    -- Its lease ran out, and nobody has counted that yet.
    local stalled = call('LREM', queue .. '${KEY.active}', 1, id)
    if stalled > 0 then call('HINCRBY', job, '${FIELD.stalls}', 1) end
    if stalled + call('ZREM', queue .. '${KEY.delayed}', id) + call('ZREM', queue .. '${KEY.prioritized}', id) > 0 then
      call('SREM', queue .. '${KEY.stalled}', id)
      endCancelled(queue, id, ARGV[2], ARGV[5], unpack(ARGV, 7))
    else
      call('HDEL', job, '${FIELD.data}')
      dropInput(queue, id)
      call('HSET', job, '${FIELD.deferredFailure}', ARGV[3])
      call('ZADD', queue .. '${OWN.cancelling}', ARGV[5], id)
    end
    fields, locked = read(job)
    return { i, fields, locked, 'cancelled' }
  end
end
return false`

/*
 * Ends a claimed job as cancelled, if the lease is still the caller's. KEYS: prefix. ARGV: id, token, reason, now,
 * attempts to count (0 or 1), 'asked' to do so only if somebody asked for it, limits. Answer: 1 done, 0 nobody asked,
 * below 0 refused.
 */
const endCancelled = `local call = redis.call
${KEEP}${END_CANCELLED}
local queue, id = KEYS[1], ARGV[1]
local job = queue .. id
local holder = call('GET', job .. '${LOCK}')
if holder ~= ARGV[2] then return holder and -6 or -2 end
if ARGV[6] == 'asked' and call('HEXISTS', job, '${FIELD.deferredFailure}') == 0 then return 0 end
if call('LREM', queue .. '${KEY.active}', -1, id) < 1 then return -3 end
call('DEL', job .. '${LOCK}')
call('SREM', queue .. '${KEY.stalled}', id)
endCancelled(queue, id, ARGV[3], ARGV[4], unpack(ARGV, 7))
if ARGV[5] == '1' then call('HINCRBY', job, '${FIELD.attemptsMade}', 1) end
return 1`

// KEYS: prefixes. ARGV: id, now, notes, how many redrives are allowed (-1: any number). The budget of attempts begins anew.
const redrive = `${READ}${KEEP}
for i = 1, #KEYS do
  local queue, id = KEYS[i], ARGV[1]
  local job = queue .. id
  local fields, locked = read(job)
  if fields then
    if not ${at(FIELD.finishedOn)} or ${isCancelled(at(FIELD.failedReason))} or not call('ZSCORE', queue .. '${KEY.failed}', id) then
      return { i, fields, locked, 'not-failed' }
    end
    local limit = tonumber(ARGV[4])
    if limit >= 0 and (tonumber(${at(FIELD.redrives)}) or 0) >= limit then return { i, fields, locked, 'limit' } end
    call('ZREM', queue .. '${KEY.failed}', id)
    call('HINCRBY', job, '${FIELD.redrives}', 1)
    -- It is no longer one that is over.
    local bytes = dropSize(queue, id)
    if bytes then addInput(queue, id, bytes) end
    local owner = ownerIn(${at(FIELD.opts)})
    if owner then call('ZREM', ownerKey(queue, owner), id) end
    call('HDEL', job, '${FIELD.finishedOn}', '${FIELD.processedOn}', '${FIELD.attemptsMade}', '${FIELD.attemptsStarted}', '${FIELD.stalls}', '${FIELD.deferredFailure}', '${FIELD.stacktrace}', '${FIELD.progress}')
    call('HSET', job, '${FIELD.failedReason}', ARGV[3], '${FIELD.delay}', 0)
    local priority = tonumber(${at(FIELD.priority)}) or 0
    if priority > 0 then
      local turn = call('INCR', queue .. '${KEY.priorityCounter}')
      call('ZADD', queue .. '${KEY.prioritized}', priority * ${PRIORITY_SCORE} + turn % ${PRIORITY_SCORE}, id)
    else
      call('LPUSH', queue .. '${KEY.wait}', id)
    end
    if call('HEXISTS', queue .. '${KEY.meta}', 'paused') == 0 then call('ZADD', queue .. '${KEY.marker}', 0, '0') end
    fields, locked = read(job)
    return { i, fields, locked, 'redriven' }
  end
end
return false`

// KEYS: prefix. ARGV: id, token, progress as JSON, channel, message. Answer: whether the lease is the caller's.
const progress = `local job = KEYS[1] .. ARGV[1]
if redis.call('GET', job .. '${LOCK}') ~= ARGV[2] then return 0 end
redis.call('HSET', job, '${FIELD.progress}', ARGV[3])
redis.call('PUBLISH', ARGV[4], ARGV[5])
return 1`

// KEYS: prefix. ARGV: id, token, notes.
const note = `local job = KEYS[1] .. ARGV[1]
if redis.call('GET', job .. '${LOCK}') ~= ARGV[2] then return 0 end
redis.call('HSET', job, '${FIELD.failedReason}', ARGV[3])
return 1`

/*
 * KEYS: prefix. ARGV: duration of a lease, then three for each job: id, token, how many attempts have begun. Takes back leases that have run out, where
 * the job is still active and nobody else has begun an attempt. Answer: the ids whose leases are good.
 */
const takeBack = `local call = redis.call
local queue, answer = KEYS[1], {}
for i = 2, #ARGV, 3 do
  local id, token = ARGV[i], ARGV[i + 1]
  local job = queue .. id
  local holder = call('GET', job .. '${LOCK}')
  if holder == token or (not holder and call('HGET', job, '${FIELD.attemptsStarted}') == ARGV[i + 2] and call('LPOS', queue .. '${KEY.active}', id)) then
    call('SET', job .. '${LOCK}', token, 'PX', ARGV[1])
    call('SREM', queue .. '${KEY.stalled}', id)
    answer[#answer + 1] = id
  end
end
return answer`

// KEYS: prefix. ARGV: id. What became of a settlement whose answer was lost.
const outcome = `local job = KEYS[1] .. ARGV[1]
return { redis.call('HMGET', job, '${FIELD.attemptsStarted}', '${FIELD.finishedOn}', '${FIELD.returnvalue}', '${FIELD.failedReason}'), redis.call('GET', job .. '${LOCK}') }`

// KEYS: prefix. ARGV: ids. Those that somebody asked to stop.
const asked = `local answer = {}
for i = 1, #ARGV do
  if redis.call('HEXISTS', KEYS[1] .. ARGV[i], '${FIELD.deferredFailure}') == 1 then answer[#answer + 1] = ARGV[i] end
end
return answer`

/** The number of the oldest active jobs whose leases are checked when stuck jobs are counted. */
const LEASES_CHECKED = 100
/** The most ids of stuck jobs in an answer. */
const STUCK_NAMED = 20
/** The most cancelled jobs at the end of the list that are passed over to find the job that waits longest. */
const PASSED_OVER = 50

/* KEYS: prefix. All sizes are kept by the server, the rest is bounded. Writes nothing: it has to work on a server that refuses writes. */
const counts = `local call = redis.call
local queue = KEYS[1]
local function size (command, key) return call(command, queue .. key) end
local stuck, stuckIds = 0, {}
local oldest = call('LRANGE', queue .. '${KEY.active}', -${LEASES_CHECKED}, -1)
for place = #oldest, 1, -1 do
  if call('EXISTS', queue .. oldest[place] .. '${LOCK}') == 0 then
    stuck = stuck + 1
    if stuck <= ${STUCK_NAMED} then stuckIds[stuck] = oldest[place] end
  end
end
local function since (id)
  local fields = id and redis.pcall('HMGET', queue .. id, '${FIELD.timestamp}', '${FIELD.opts}', '${FIELD.failedReason}') or {}
  return fields.err and {} or fields
end
local first = false
for place = -1, -${PASSED_OVER}, -1 do
  first = call('LINDEX', queue .. '${KEY.wait}', place)
  if not first or not call('ZSCORE', queue .. '${OWN.cancelling}', first) then break end
end
local due = call('ZRANGE', queue .. '${KEY.delayed}', 0, 0, 'WITHSCORES')[2]
return {
  size('LLEN', '${KEY.wait}'), size('ZCARD', '${KEY.prioritized}'), size('ZCARD', '${KEY.delayed}'), size('LLEN', '${KEY.active}'),
  size('ZCARD', '${KEY.completed}'), size('ZCARD', '${KEY.failed}'), size('ZCARD', '${OWN.cancelled}'), size('ZCARD', '${OWN.cancelling}'),
  stuck, since(first), since(call('ZRANGE', queue .. '${KEY.prioritized}', 0, 0)[1]), due and tostring(math.floor(due / ${DELAYED_SCORE})) or false,
  stuckIds
}`

const SCRIPTS = {
  lookup, input, result, cancel, endCancelled, redrive, progress, note, takeBack, outcome, asked, counts, page: page(READ), sweep, forget,
  ...SHARED_SCRIPTS, ...repairScripts()
} as const

export type ScriptName = keyof typeof SCRIPTS

/** The text of all scripts, for a test that looks for the commands in them. */
export const SCRIPT_TEXTS: readonly string[] = Object.values(SCRIPTS)

// A client that the application shares with another version of this package must not mix the two.
const COMMANDS = new Map(Object.entries(SCRIPTS).map(([name, lua]) => [name, commandName(name, lua)]))

export function commandName (name: string, lua: string): string {
  return `fae:${name}:${createHash('sha1').update(lua).digest('hex').slice(0, 8)}`
}

/** Teaches a client one script more. @returns the name of the command */
export function defineCommand (client: Client, name: string, definition: { lua: string, numberOfKeys: number }): string {
  const command = commandName(name, definition.lua)
  if (typeof Reflect.get(client, command) !== 'function') client.defineCommand(command, definition)
  return command
}

/** Teaches a client our scripts. They are sent once per connection and called by their hash after that. */
export function defineScripts (client: Client): void {
  for (const [name, lua] of Object.entries(SCRIPTS)) {
    const command = COMMANDS.get(name)
    if (command !== undefined && typeof Reflect.get(client, command) !== 'function') client.defineCommand(command, { lua })
  }
}

/** Runs one of our scripts. `args` follow the keys. */
export function runScript (client: Client, name: ScriptName, keys: readonly string[], ...args: ReadonlyArray<string | number>): Promise<unknown> {
  return runCommand(client, COMMANDS.get(name) ?? '', [keys.length, ...keys, ...args])
}

/** Calls a command that the client was taught. */
export function runCommand (client: Client, command: string, args: readonly unknown[]): Promise<unknown> {
  const run: unknown = Reflect.get(client, command)
  if (typeof run !== 'function') return Promise.reject(new Error(`the client has no command ${command}`))
  return Reflect.apply(run, client, [args]) as Promise<unknown>
}
