/**
 * What a queue keeps of jobs that are over, and how long it remembers idempotency keys. BullMQ's own retention knows an
 * age and a count per queue. The Lua here adds the bytes that jobs leave behind, and a limit per owner, so that one
 * client cannot push out what another one has yet to read.
 */
import { OURS } from './envelope.ts'
import { FIELD, KEY, LOCK, LOG } from './internals.ts'
import type { ResolvedRedisStoreOptions } from './options.ts'

/** Keys of the store beside BullMQ's, each behind the prefix of its queue. */
export const OWN = {
  /** Sorted set: jobs that ended cancelled (BullMQ has them among the failed), by when. */
  cancelled: 'fae:cancelled',
  /** Sorted set: jobs that are cancelled but still in BullMQ's list of waiting jobs. */
  cancelling: 'fae:cancelling',
  /** Sorted set: finished jobs that left much behind, by when they ended. */
  large: 'fae:large',
  /** Hash: how many bytes each of those left; their sum under the empty name, which no job can have. */
  sizes: 'fae:sizes',
  /** Sorted set: jobs that are not over and whose input is large, by its bytes; their sum under the empty name. */
  inputs: 'fae:inputs',
  /** How far the sweep has come in `large`, `inputs` or `cancelled`; their name follows. */
  place: 'fae:place:',
  /** Sorted set per owner (a hash of it): finished jobs of that owner, by when they ended. */
  owner: 'fae:owner:',
  /** Text per idempotency key: the id of its job and the fingerprint of the request. */
  key: 'fae:key:',
  /** Sorted set per owner: the idempotency keys of that owner, by when they are forgotten. */
  keys: 'fae:keys:'
} as const

/** What a job leaves behind counts towards `maxBytes` from this size on. Smaller ones are bounded by `maxCount`. */
export const LARGE_BYTES = 4_096
/** What BullMQ may have written beside a job that belongs to a flow. It is deleted together with the job. */
const LEFT_BY_FLOWS = [':dependencies', ':processed', ':failed', ':unsuccessful'] as const
/** One script forgets no more than this for each reason; the rest goes with the next one. */
const STEPS = 100

/** The limits as arguments of a script, in the order in which {@link KEEP} takes them. */
export function limitsOf ({ retention }: Pick<ResolvedRedisStoreOptions, 'retention'>): number[] {
  const { maxCount, completedMs, failedMs, maxPerOwner, maxBytes } = retention
  return [maxCount, completedMs, failedMs, maxPerOwner, maxBytes].map(Math.ceil)
}

/**
 * Functions that count the bytes of large inputs of jobs that are not over. Calling one twice for a job changes
 * nothing. Needs `call`.
 */
function inputs (): string {
  return `local function inputBytes (queue) return tonumber(call('ZSCORE', queue .. '${OWN.inputs}', '')) or 0 end
local function addInput (queue, id, bytes)
  local key = queue .. '${OWN.inputs}'
  if call('ZADD', key, bytes, id) == 1 then call('ZINCRBY', key, bytes, '') end
end
local function dropInput (queue, id)
  local key = queue .. '${OWN.inputs}'
  local bytes = call('ZSCORE', key, id)
  if not bytes then return end
  call('ZREM', key, id)
  if tonumber(call('ZINCRBY', key, -bytes, '')) <= 0 then call('ZREM', key, '') end
end
`
}

/** Functions for scripts that end or forget jobs. Needs `call`. */
export const KEEP = `local function micros ()
  local time = call('TIME')
  return time[1] * 1000000 + time[2]
end
local function ownerKey (queue, owner) return queue .. '${OWN.owner}' .. redis.sha1hex(owner) end
local function ownerIn (opts)
  if not opts or not string.find(opts, '"o":', 1, true) then return nil end
  local fine, given = pcall(cjson.decode, opts)
  local ours = fine and type(given) == 'table' and given.${OURS}
  local owner = type(ours) == 'table' and ours.o
  return type(owner) == 'string' and owner or nil
end
-- Answer: how many bytes it had left, if they were counted.
local function dropSize (queue, id)
  if call('ZREM', queue .. '${OWN.large}', id) == 0 then return nil end
  local bytes = call('HGET', queue .. '${OWN.sizes}', id)
  if not bytes then return nil end
  call('HDEL', queue .. '${OWN.sizes}', id)
  if call('HINCRBY', queue .. '${OWN.sizes}', '', -bytes) <= 0 then call('HDEL', queue .. '${OWN.sizes}', '') end
  return bytes
end
${inputs()}-- Forgets a job that is over. 'from' is the set in which it was found, if any. Its idempotency key has a time
-- of its own, and stays.
local function forget (queue, id, from)
  local job = queue .. id
  if from then call('ZREM', from, id) end
  local seen = call('HMGET', job, '${FIELD.finishedOn}', '${FIELD.returnvalue}', '${FIELD.opts}')
  local returned, opts = seen[2], seen[3]
  -- What a completed job returns is the size of its result.
  local size = returned == 'null' and 0 or tonumber(returned) or ${LARGE_BYTES}
  if size >= ${LARGE_BYTES} then dropSize(queue, id) end
  local owner = ownerIn(opts)
  if owner then call('ZREM', ownerKey(queue, owner), id) end
  -- Somebody took it up again with BullMQ alone.
  if opts and not seen[1] then return end
  if not returned then
    call('ZREM', queue .. '${KEY.failed}', id)
    call('ZREM', queue .. '${OWN.cancelled}', id)
  elseif from ~= queue .. '${KEY.completed}' then
    call('ZREM', queue .. '${KEY.completed}', id)
  end
  call('DEL', job, ${[LOG, ...LEFT_BY_FLOWS].map((suffix) => `job .. '${suffix}'`).join(', ')})
end
local function forgetAll (queue, set, ids)
  for _, id in ipairs(ids) do forget(queue, id, set) end
end
local function keepBytes (queue, id, bytes, maxBytes)
  local sizes, large = queue .. '${OWN.sizes}', queue .. '${OWN.large}'
  local before = call('HGET', sizes, id) or 0
  call('HSET', sizes, id, bytes)
  call('ZADD', large, micros(), id)
  local total = call('HINCRBY', sizes, '', bytes - before)
  for _ = 1, ${STEPS} do
    if total <= maxBytes then return end
    local oldest = call('ZRANGE', large, 0, 0)[1]
    -- The newest one stays, however large it is. Alone, its size is the sum: a wrong sum is corrected here.
    if oldest == id then
      call('DEL', sizes)
      call('HSET', sizes, id, bytes, '', bytes)
      return
    end
    forget(queue, oldest)
    total = tonumber(call('HGET', sizes, '')) or 0
  end
end
local function keepOwner (queue, id, owner, maxPerOwner, keepMs)
  local set = ownerKey(queue, owner)
  call('ZADD', set, micros(), id)
  call('PEXPIRE', set, keepMs)
  local over = call('ZCARD', set) - maxPerOwner
  if over > 0 then forgetAll(queue, set, call('ZRANGE', set, 0, math.min(over, ${STEPS}) - 1)) end
end
-- After a job ended. 'set' is BullMQ's for its ending, 'now' the time by the clock of the one who ended it.
local function keep (queue, id, set, now, bytes, owner, maxCount, completedMs, failedMs, maxPerOwner, maxBytes)
  if bytes >= ${LARGE_BYTES} then keepBytes(queue, id, bytes, tonumber(maxBytes)) end
  if owner then keepOwner(queue, id, owner, maxPerOwner, math.max(completedMs, failedMs)) end
  local key, keepMs = queue .. set, set == '${KEY.completed}' and completedMs or failedMs
  local past = call('ZRANGEBYSCORE', key, '-inf', now - keepMs, 'LIMIT', 0, ${STEPS})
  if past[1] then
    -- The clock of that process may be ahead: the server's has to agree.
    local time = math.min(now, math.floor(micros() / 1000))
    forgetAll(queue, key, call('ZRANGEBYSCORE', key, '-inf', time - keepMs, 'LIMIT', 0, ${STEPS}))
  end
  local over = call('ZREVRANGE', key, maxCount, maxCount + ${STEPS - 1})
  if over[1] then forgetAll(queue, key, over) end
end
`

/**
 * KEYS: prefix. ARGV: how many of each kind, limits. Forgets jobs whose time is over by the clock of the server, marks
 * of cancels whose job is gone or over (a worker may have died between two steps), and sizes of jobs that somebody else
 * removed or took up again: of those so many are looked at, and the next sweep goes on from there.
 */
export const sweep = `local call = redis.call
${KEEP}
local queue, most = KEYS[1], tonumber(ARGV[1])
local now = math.floor(micros() / 1000)
-- Where the next sweep goes on in a set: behind the members that stay, or from the beginning.
local function rest (place, from, stay, more)
  if more then call('SET', place, from + stay, 'PX', 86400000) elseif from > 0 then call('DEL', place) end
end
local times = { ['${KEY.completed}'] = ARGV[3], ['${KEY.failed}'] = ARGV[4], ['${OWN.cancelled}'] = ARGV[3] }
for set, keepMs in pairs(times) do
  forgetAll(queue, queue .. set, call('ZRANGEBYSCORE', queue .. set, '-inf', now - keepMs, 'LIMIT', 0, most))
end
for _, id in ipairs(call('ZRANGE', queue .. '${OWN.cancelling}', 0, most - 1)) do
  local state = redis.pcall('HMGET', queue .. id, '${FIELD.name}', '${FIELD.finishedOn}')
  if state.err or not state[1] or state[2] then call('ZREM', queue .. '${OWN.cancelling}', id) end
end
-- Somebody else may have removed a cancelled job with BullMQ alone.
local cancelledFrom = tonumber(call('GET', queue .. '${OWN.place}${OWN.cancelled}')) or 0
local cancelledIds = call('ZRANGE', queue .. '${OWN.cancelled}', cancelledFrom, cancelledFrom + most - 1)
local stillFailed = 0
for _, id in ipairs(cancelledIds) do
  if call('ZSCORE', queue .. '${KEY.failed}', id) then stillFailed = stillFailed + 1 else call('ZREM', queue .. '${OWN.cancelled}', id) end
end
rest(queue .. '${OWN.place}${OWN.cancelled}', cancelledFrom, stillFailed, #cancelledIds == most)
-- Sizes are those of jobs that are over, inputs those of jobs that are not.
for name, over in pairs({ ['${OWN.large}'] = 1, ['${OWN.inputs}'] = 0 }) do
  local place = queue .. '${OWN.place}' .. name
  local from = tonumber(call('GET', place)) or 0
  local ids = call('ZRANGE', queue .. name, from, from + most - 1)
  local there = 0
  for _, id in ipairs(ids) do
    local job = queue .. id
    if id == '' or call('EXISTS', job) == 1 and redis.pcall('HEXISTS', job, '${FIELD.finishedOn}') == over then
      there = there + 1
    elseif over == 1 then
      dropSize(queue, id)
    else
      dropInput(queue, id)
    end
  end
  rest(place, from, there, #ids == most)
end
return 1`

/**
 * KEYS: prefix. ARGV: id, owner or '', idempotency key or ''. After BullMQ removed a job: the rest of it, and its key,
 * which is free from then on.
 */
export const forget = `local call = redis.call
${KEEP}
local queue, id = KEYS[1], ARGV[1]
call('ZREM', queue .. '${OWN.cancelled}', id)
call('ZREM', queue .. '${OWN.cancelling}', id)
dropSize(queue, id)
dropInput(queue, id)
if ARGV[2] ~= '' then call('ZREM', ownerKey(queue, ARGV[2]), id) end
if ARGV[3] == '' then return 1 end
local key = queue .. '${OWN.key}' .. ARGV[3]
local text = call('GET', key)
if text and string.sub(text, 1, #id + 1) == id .. ' ' then
  call('DEL', key)
  if ARGV[2] ~= '' then call('ZREM', queue .. '${OWN.keys}' .. redis.sha1hex(ARGV[2]), ARGV[3]) end
end
return 1`

/**
 * What follows BullMQ's own step that ends a job, in the same script. Its arguments: `queue`, `id`, `job` (the key),
 * `set` ('completed' or 'failed') and `now`, then the extras: '1' if this store added the job ('': somebody else did),
 * bytes of a large input or '', owner or '', time to live of the result in ms, and the result, if there is one.
 */
export function afterEnd (settings: Pick<ResolvedRedisStoreOptions, 'retention'>): string {
  return `local call = redis.call
${KEEP}
local function afterEnd (queue, id, job, set, now, added, submitted, owner, resultMs, result)
  local bytes = tonumber(submitted) or 0
  local there
  if set == '${KEY.completed}' then
    bytes = 0
    -- Nothing runs it again, so its input can go. Data that somebody else wrote with BullMQ is left alone.
    there = added == '1' and call('HDEL', job, '${FIELD.data}') == 1 or call('EXISTS', job) == 1
    if there and result then
      bytes = #result
      -- Kept as the job's log, which goes when the job goes.
      call('DEL', job .. '${LOG}')
      call('RPUSH', job .. '${LOG}', result)
      call('PEXPIRE', job .. '${LOG}', resultMs)
    end
  else
    there = call('EXISTS', job) == 1
  end
  if submitted ~= '' then dropInput(queue, id) end
  -- The job's own options may have made BullMQ remove it.
  if there then keep(queue, id, set, now, bytes, owner ~= '' and owner or nil, ${limitsOf(settings).join(', ')}) end
end
`
}

/**
 * What a submission with an idempotency key or a large input needs beside BullMQ's own step: `held` is called before
 * the job is added, and keeps it from being added by any answer but nil; `remember` is called after. `asked` has the
 * key `k`, its fingerprint `f`, its time to live `t` in ms, the owner `o` if there is one, and the bytes `b` of a large
 * input.
 */
export function aroundAdd (settings: Pick<ResolvedRedisStoreOptions, 'maxWaitingBytes' | 'retention'>, recordFields: readonly string[]): string {
  const { maxWaitingBytes, retention: { maxKeysPerOwner } } = settings
  return `local call = redis.call
${inputs()}
-- Answer: nil (go on), 1 (this very job is stored already), 0 (too many bytes wait), or the job that has the key:
-- its id, the fingerprint of its request, its fields (false when it is forgotten), and whether it is locked.
local function held (queue, id, asked)
  local text = asked.k and call('GET', queue .. '${OWN.key}' .. asked.k)
  if not text then
    if not asked.b or inputBytes(queue) + asked.b <= ${Math.ceil(maxWaitingBytes)} then return nil end
    return call('EXISTS', queue .. id)
  end
  local gap = string.find(text, ' ', 1, true)
  local holder = string.sub(text, 1, gap - 1)
  -- Sent again because the answer got lost.
  if holder == id then return 1 end
  local job = queue .. holder
  local fields = call('HMGET', job, ${recordFields.map((field) => `'${field}'`).join(', ')})
  return { holder, string.sub(text, gap + 1), fields[1] and fields or false, call('EXISTS', job .. '${LOCK}') }
end
local function remember (queue, id, asked)
  if asked.k then call('SET', queue .. '${OWN.key}' .. asked.k, id .. ' ' .. asked.f, 'PX', asked.t) end
  if asked.b then addInput(queue, id, asked.b) end
  if not asked.k or not asked.o then return end
  local set = queue .. '${OWN.keys}' .. redis.sha1hex(asked.o)
  local time = call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  call('ZREMRANGEBYSCORE', set, '-inf', now)
  call('ZADD', set, now + asked.t, asked.k)
  if call('PTTL', set) < asked.t then call('PEXPIRE', set, asked.t) end
  local over = call('ZCARD', set) - ${maxKeysPerOwner}
  if over > 0 then
    for _, key in ipairs(call('ZRANGE', set, 0, math.min(over, ${STEPS}) - 1)) do
      call('ZREM', set, key)
      call('DEL', queue .. '${OWN.key}' .. key)
    end
  end
end
`
}
