--[[
Keeps a job that has ended, and forgets older ones where a limit of the retention is exceeded.

Needs    `call`
Defines  `keep`, `forget`, `forgetAll`, `dropSize`, `ownerKey`, `ownerIn`, `micros`, and what parts/inputs defines

BullMQ's own retention knows an age and a count per queue. These functions add the bytes that jobs leave behind, and a
limit per owner, so that one client cannot push out results that another one has yet to read.
]]
-- @include parts/inputs

-- What a job leaves behind counts towards maxBytes from this size on: LARGE_BYTES in keeping.ts.
local LARGE_BYTES = 4096
-- One script forgets at most this many jobs for each reason. The next script goes on from there.
local STEPS = 100

local function micros ()
  local time = call('TIME')
  return time[1] * 1000000 + time[2]
end

local function ownerKey (queue, owner) return queue .. 'fae:owner:' .. redis.sha1hex(owner) end

-- The owner in the options of a job: `o` of the envelope, see envelope.ts.
local function ownerIn (opts)
  if not opts or not string.find(opts, '"o":', 1, true) then return nil end
  local fine, given = pcall(cjson.decode, opts)
  local envelope = fine and type(given) == 'table' and given.fae
  local owner = type(envelope) == 'table' and envelope.o
  return type(owner) == 'string' and owner or nil
end

-- Stops counting what a finished job left behind. Returns the bytes, if they were counted.
local function dropSize (queue, id)
  if call('ZREM', queue .. 'fae:large', id) == 0 then return nil end
  local bytes = call('HGET', queue .. 'fae:sizes', id)
  if not bytes then return nil end
  call('HDEL', queue .. 'fae:sizes', id)
  if call('HINCRBY', queue .. 'fae:sizes', '', -bytes) <= 0 then call('HDEL', queue .. 'fae:sizes', '') end
  return bytes
end

-- Forgets a job that is over. `from` is the set in which it was found, if any. Its idempotency key has a time to live of
-- its own, and stays.
local function forget (queue, id, from)
  local job = queue .. id
  if from then call('ZREM', from, id) end
  local seen = call('HMGET', job, 'finishedOn', 'returnvalue', 'opts')
  local returned, opts = seen[2], seen[3]
  -- What a completed job returns is the size of its result.
  local size = returned == 'null' and 0 or tonumber(returned) or LARGE_BYTES
  if size >= LARGE_BYTES then dropSize(queue, id) end
  local owner = ownerIn(opts)
  if owner then call('ZREM', ownerKey(queue, owner), id) end
  -- The job is not over: another program runs it again with BullMQ alone.
  if opts and not seen[1] then return end
  if not returned then
    call('ZREM', queue .. 'failed', id)
    call('ZREM', queue .. 'fae:cancelled', id)
  elseif from ~= queue .. 'completed' then
    call('ZREM', queue .. 'completed', id)
  end
  -- The log holds the result. BullMQ writes the last four beside jobs that belong to a flow.
  call('DEL', job, job .. ':logs', job .. ':dependencies', job .. ':processed', job .. ':failed', job .. ':unsuccessful')
end

local function forgetAll (queue, set, ids)
  for _, id in ipairs(ids) do forget(queue, id, set) end
end

local function keepBytes (queue, id, bytes, maxBytes)
  local sizes, large = queue .. 'fae:sizes', queue .. 'fae:large'
  local before = call('HGET', sizes, id) or 0
  call('HSET', sizes, id, bytes)
  call('ZADD', large, micros(), id)
  local total = call('HINCRBY', sizes, '', bytes - before)
  for _ = 1, STEPS do
    if total <= maxBytes then return end
    local oldest = call('ZRANGE', large, 0, 0)[1]
    -- The newest job stays, however large it is. When it is alone its size is the sum, so a wrong sum is corrected here.
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
  if over > 0 then forgetAll(queue, set, call('ZRANGE', set, 0, math.min(over, STEPS) - 1)) end
end

-- To be called after a job ended. `set` is BullMQ's set for its ending ('completed' or 'failed'), `now` the time by the
-- clock of the process that ended it. The limits come in the order of limitsOf in keeping.ts.
local function keep (queue, id, set, now, bytes, owner, maxCount, completedMs, failedMs, maxPerOwner, maxBytes)
  if bytes >= LARGE_BYTES then keepBytes(queue, id, bytes, tonumber(maxBytes)) end
  if owner then keepOwner(queue, id, owner, maxPerOwner, math.max(completedMs, failedMs)) end
  local key, keepMs = queue .. set, set == 'completed' and completedMs or failedMs
  local past = call('ZRANGEBYSCORE', key, '-inf', now - keepMs, 'LIMIT', 0, STEPS)
  if past[1] then
    -- The clock of that process may be ahead: the clock of the server has to agree.
    local time = math.min(now, math.floor(micros() / 1000))
    forgetAll(queue, key, call('ZRANGEBYSCORE', key, '-inf', time - keepMs, 'LIMIT', 0, STEPS))
  end
  local over = call('ZREVRANGE', key, maxCount, maxCount + STEPS - 1)
  if over[1] then forgetAll(queue, key, over) end
end
