--[[
Puts a failed job back into its queue. Its attempts are counted from the beginning again. What its steps have
stored stays.

KEYS       prefixes of the queues in which the job may be
ARGV       1 id
           2 now, in milliseconds
           3 notes
           4 how many redrives are allowed (-1: any number)
Returns    { number of the queue, fields, leased, 'redriven' | 'not-failed' | 'limit' }, or nil
Called by  RedisStore.redrive (index.ts)
]]
local call = redis.call
-- @include parts/record
-- @include parts/keep
-- @include parts/requeue
-- @include parts/publish
for i = 1, #KEYS do
  local queue, id = KEYS[i], ARGV[1]
  local job = queue .. id
  local fields, leased = readRecord(job)
  if fields then
    if not fields[AT_FINISHED_ON] or isCancelled(fields[AT_FAILED_REASON]) or not call('ZSCORE', queue .. 'failed', id) then
      return { i, fields, leased, 'not-failed' }
    end
    local limit = tonumber(ARGV[4])
    if limit >= 0 and (tonumber(fields[AT_REDRIVES]) or 0) >= limit then return { i, fields, leased, 'limit' } end
    call('ZREM', queue .. 'failed', id)
    if fields[AT_UNDO] then call('ZREM', queue .. 'fae:not-undone', id) end
    call('HINCRBY', job, 'rdr', 1)
    -- The claims are counted from the beginning again, the version is not.
    count(job, 3 * (tonumber(fields[AT_STARTED]) or 0) + 3)
    -- What it left behind counts as a waiting input again, and no longer as that of a finished job.
    local bytes = dropSize(queue, id)
    if bytes then addInput(queue, id, bytes) end
    local owner = ownerIn(fields[AT_OPTS])
    if owner then call('ZREM', ownerKey(queue, owner), id) end
    call('HDEL', job, 'finishedOn', 'processedOn', 'atm', 'ats', 'stc', 'defa', 'stacktrace', 'progress')
    call('HSET', job, 'failedReason', ARGV[3], 'delay', 0)
    requeue(queue, id, tonumber(fields[AT_PRIORITY]) or 0)
    publish(queue, id, 'q')
    fields, leased = readRecord(job)
    return { i, fields, leased, 'redriven' }
  end
end
return false
