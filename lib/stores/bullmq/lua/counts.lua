--[[
Counts the jobs of a queue by state. The server knows all sizes, and the rest is bounded. Nothing is written, so that it
works on a server that refuses writes.

KEYS       1 prefix of the queue
Returns    { waiting, prioritized, delayed, active, completed, failed, cancelled, cancelled but still listed as waiting,
           active without a lease, three fields of the first waiting job, three fields of the first prioritized job,
           when the next delayed job is due or nil, ids of jobs that are active without a lease, jobs that undo
           their steps, since when the first of them does or nil, jobs that wait for a signal, jobs that could not undo
           all of their steps, ids of the newest of those }
Called by  RedisStore.counts (index.ts); counts.ts reads the answer
]]
local call = redis.call
local queue = KEYS[1]
-- How many of the oldest active jobs are checked for their lease.
local LEASES_CHECKED = 100
-- The most ids of stuck jobs in an answer.
local STUCK_NAMED = 20
-- The most ids of jobs that could not undo their steps in an answer: MAX_NOT_UNDONE in lib/jobs/steps.ts.
local NOT_UNDONE_NAMED = 20
-- The most cancelled jobs at the end of the list that are passed over to find the job that waits longest.
local PASSED_OVER = 50
-- BullMQ orders delayed jobs by the time times this, plus a count: DELAYED_SCORE in layout.ts.
local DELAYED_SCORE = 4096

local function size (command, key) return call(command, queue .. key) end

local stuck, stuckIds = 0, {}
local oldest = call('LRANGE', queue .. 'active', -LEASES_CHECKED, -1)
for place = #oldest, 1, -1 do
  if call('EXISTS', queue .. oldest[place] .. ':lock') == 0 then
    stuck = stuck + 1
    if stuck <= STUCK_NAMED then stuckIds[stuck] = oldest[place] end
  end
end

local function since (id)
  local fields = id and redis.pcall('HMGET', queue .. id, 'timestamp', 'opts', 'failedReason') or {}
  return fields.err and {} or fields
end

local first = false
for place = -1, -PASSED_OVER, -1 do
  first = call('LINDEX', queue .. 'wait', place)
  if not first or not call('ZSCORE', queue .. 'fae:cancelling', first) then break end
end
local due = call('ZRANGE', queue .. 'delayed', 0, 0, 'WITHSCORES')[2]
return {
  size('LLEN', 'wait'), size('ZCARD', 'prioritized'), size('ZCARD', 'delayed'), size('LLEN', 'active'),
  size('ZCARD', 'completed'), size('ZCARD', 'failed'), size('ZCARD', 'fae:cancelled'), size('ZCARD', 'fae:cancelling'),
  stuck, since(first), since(call('ZRANGE', queue .. 'prioritized', 0, 0)[1]),
  due and tostring(math.floor(due / DELAYED_SCORE)) or false, stuckIds,
  size('ZCARD', 'fae:compensating'), call('ZRANGE', queue .. 'fae:compensating', 0, 0, 'WITHSCORES')[2] or false,
  size('ZCARD', 'fae:awaiting'), size('ZCARD', 'fae:not-undone'),
  call('ZREVRANGE', queue .. 'fae:not-undone', 0, NOT_UNDONE_NAMED - 1)
}
