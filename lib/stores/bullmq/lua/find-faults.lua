--[[
Finds jobs that BullMQ's scripts stumble over because another program wrote over their keys. Gives an end to leases and
other keys that have lost theirs. A job whose hash is gone but whose lease lasts is left to the worker that has it.

KEYS       1 prefix of the queue
ARGV       1 how many jobs to look at, at each end of each list
           2 how long a lease lasts, in milliseconds
Returns    { id and fault of each broken job, ids of jobs whose lease had no end, other keys that had no end }
Called by  Repairs.repair (unreadable.ts)
]]
local call = redis.call
-- @include parts/readable
local queue, count, leaseMs = KEYS[1], tonumber(ARGV[1]), ARGV[2]
local faults, endless, keys, seen = {}, {}, {}, {}

local function look (id, leased)
  -- BullMQ keeps markers, whose names begin with '0:', among the jobs of older queues.
  if seen[id] or string.sub(id, 1, 2) == '0:' then return end
  seen[id] = true
  local fields, fault = readCounters(queue .. id), nil
  if fields.err then fault = 'its key holds no hash'
  elseif not fields[1] then
    if not leased then fault = 'it has no name' end
  elseif not fields[2] or not whole(fields[2]) then fault = 'its field timestamp is not a number'
  elseif fields[3] and not isTable(fields[3]) then fault = 'its field opts is not JSON'
  else
    for place = 4, 7 do
      if not whole(fields[place]) then fault = 'one of its counters is not a number' end
    end
  end
  if fault then
    faults[#faults + 1] = id
    faults[#faults + 1] = fault
  end
end

local function ends (command, key)
  local found = call(command, key, 0, count - 1)
  for _, id in ipairs(call(command, key, -count, -1)) do found[#found + 1] = id end
  return found
end

local met = {}
for _, id in ipairs(ends('LRANGE', queue .. 'active')) do
  local lease = queue .. id .. ':lock'
  local left = call('PTTL', lease)
  if left == -1 and not met[id] then
    met[id] = true
    call('PEXPIRE', lease, leaseMs)
    endless[#endless + 1] = id
  end
  look(id, left ~= -2)
end
for _, id in ipairs(ends('LRANGE', queue .. 'wait')) do look(id, false) end
for _, key in ipairs({ 'prioritized', 'delayed' }) do
  for _, id in ipairs(ends('ZRANGE', queue .. key)) do look(id, false) end
end
for _, key in ipairs({ 'completed', 'failed' }) do
  for _, id in ipairs(call('ZRANGE', queue .. key, 0, count - 1)) do
    if readCounters(queue .. id).err then look(id, false) end
  end
end
-- BullMQ sets this key for as long as no other worker is to look for lost leases.
if call('PTTL', queue .. 'stalled-check') == -1 then
  call('PEXPIRE', queue .. 'stalled-check', 1000)
  keys[1] = queue .. 'stalled-check'
end
return { faults, endless, keys }
