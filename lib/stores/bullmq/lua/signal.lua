--[[
Stores a signal for a job that is not over; the first of a name counts. A job that is suspended until this signal
becomes claimable.

KEYS       prefixes of the queues in which the job may be
ARGV       1 id
           2 name of the signal
           3 value as JSON
           4 now, in milliseconds
Returns    { number of the queue, fields, leased, 'stored' | 'repeated' | 'conflict' | 'finished' }, or nil
Called by  RedisSteps.signal (steps.ts)
]]
local call = redis.call
-- @include parts/record
-- @include parts/wake
-- @include parts/values
-- @include parts/publish
for i = 1, #KEYS do
  local queue, id = KEYS[i], ARGV[1]
  local job = queue .. id
  local fields, leased = readRecord(job)
  if fields then
    if fields[AT_FINISHED_ON] or isCancelled(fields[AT_DEFERRED]) then return { i, fields, leased, 'finished' } end
    local field = 'g:' .. ARGV[2]
    local seen = call('HMGET', job, field, 'aws')
    if seen[1] then return { i, fields, leased, seen[1] == ARGV[3] and 'repeated' or 'conflict' } end
    if fields[AT_UNDO] then
      call('HSET', job, field, ARGV[3])
    else
      call('HSET', job, field, ARGV[3], 'und', '0')
    end
    growInput(queue, id, #ARGV[3])
    count(job)
    local woken = seen[2] == ARGV[2] and wake(queue, id, ARGV[4]) or 0
    publish(queue, id, woken == 1 and 'q' or '?')
    return { i, fields, leased, 'stored' }
  end
end
return false
