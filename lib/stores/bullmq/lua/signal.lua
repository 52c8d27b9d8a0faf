--[[
Stores a signal for a job that is not over; the first of a name counts. A job that is suspended until this signal
becomes claimable.

KEYS       prefixes of the queues in which the job may be
ARGV       1 id
           2 name of the signal
           3 value as JSON
           4 now, in milliseconds
Returns    { number of the queue, fields, leased, 'stored' | 'repeated' | 'conflict' | 'finished', whether the job was
           woken (1 or 0) }, or nil
Called by  RedisSteps.signal (steps.ts)
]]
local call = redis.call
-- @include parts/record
-- @include parts/wake
for i = 1, #KEYS do
  local queue, id = KEYS[i], ARGV[1]
  local job = queue .. id
  local fields, leased = readRecord(job)
  if fields then
    if fields[AT_FINISHED_ON] or isCancelled(fields[AT_DEFERRED]) then return { i, fields, leased, 'finished', 0 } end
    local field = 'g:' .. ARGV[2]
    local seen = call('HMGET', job, field, 'aws')
    if seen[1] then return { i, fields, leased, seen[1] == ARGV[3] and 'repeated' or 'conflict', 0 } end
    if fields[AT_UNDO] then
      call('HSET', job, field, ARGV[3])
    else
      call('HSET', job, field, ARGV[3], 'und', '0')
    end
    return { i, fields, leased, 'stored', seen[2] == ARGV[2] and wake(queue, id, ARGV[4]) or 0 }
  end
end
return false
