--[[
Forgets jobs that are over, with all that they left behind.

Needs    `call`
Defines  `forget`, `forgetAll`, `dropSize`, `ownerKey`, `ownerIn`, LARGE_BYTES, STEPS
]]
-- What a job leaves behind counts towards maxBytes from this size on: LARGE_BYTES in keeping.ts.
local LARGE_BYTES = 4096
-- One script forgets at most this many jobs for each reason. The next script goes on from there.
local STEPS = 100

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
    call('ZREM', queue .. 'fae:not-undone', id)
  elseif from ~= queue .. 'completed' then
    call('ZREM', queue .. 'completed', id)
  end
  -- The log holds the result.
  if opts and string.find(opts, '"fae":', 1, true) then
    call('DEL', job, job .. ':logs')
  else
    -- BullMQ writes the last four beside a job that belongs to a flow, which no job of this store does.
    call('DEL', job, job .. ':logs', job .. ':dependencies', job .. ':processed', job .. ':failed', job .. ':unsuccessful')
  end
end

local function forgetAll (queue, set, ids)
  for _, id in ipairs(ids) do forget(queue, id, set) end
end
