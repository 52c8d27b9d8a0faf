--[[
Cancels a job: ends it if it waits, asks it to stop if it runs.

A job that has something to undo is never ended here: its next attempt undoes it, and a job that waits for a time, or
for a signal, becomes claimable. One that was never claimed keeps the time that its submission asked for.

A job in BullMQ's list of waiting jobs is only marked, because taking it out would mean searching the list. The worker
that claims it ends it as cancelled, without running it.

KEYS       prefixes of the queues in which the job may be
ARGV       1 id
           2 notes for a job that ends here
           3 notes for a job that is marked where it waits
           4 notes for a running attempt, and for one that is to undo what was done
           5 now, in milliseconds
           6 channel on which the id of a job that was asked to stop is published
           7… limits of the retention
Returns    { number of the queue, fields, leased, 'cancelled' | 'already' | 'requested' | 'finished', 1 if
           somebody had asked it to stop before }, or nil
Called by  RedisStore.cancel (index.ts)
]]
local call = redis.call
-- @include parts/record
-- @include parts/cancelled
-- @include parts/wake
-- @include parts/publish
for i = 1, #KEYS do
  local queue, id = KEYS[i], ARGV[1]
  local job = queue .. id
  local fields, leased = readRecord(job)
  if fields then
    local deferred = fields[AT_DEFERRED]
    if fields[AT_FINISHED_ON] then
      return { i, fields, leased, isCancelled(fields[AT_FAILED_REASON]) and 'already' or 'finished' }
    end
    if isCancelled(deferred) then return { i, fields, leased, 'already' } end
    if leased == 1 or fields[AT_UNDO] == '1' then
      local woken = 0
      if not deferred then
        call('HSET', job, 'defa', ARGV[4])
        count(job)
        -- Only the first request wakes it: later it may wait between two tries of an undo.
        if leased == 0 and (tonumber(fields[AT_STARTED]) or 0) > 0 then woken = wake(queue, id, ARGV[5]) end
      end
      send(ARGV[6], id)
      publish(queue, id, woken == 1 and 'q' or '?')
      fields, leased = readRecord(job)
      return { i, fields, leased, 'requested', deferred and 1 or 0 }
    end
    -- Active without a lease: the lease ran out, and no worker has counted that stall yet.
    local stalled = call('LREM', queue .. 'active', 1, id)
    if stalled > 0 then call('HINCRBY', job, 'stc', 1) end
    if stalled + call('ZREM', queue .. 'delayed', id) + call('ZREM', queue .. 'prioritized', id) > 0 then
      call('SREM', queue .. 'stalled', id)
      endCancelled(queue, id, ARGV[2], ARGV[5], unpack(ARGV, 7))
    else
      call('HDEL', job, 'data')
      dropInput(queue, id)
      call('HSET', job, 'defa', ARGV[3])
      call('ZADD', queue .. 'fae:cancelling', ARGV[5], id)
    end
    publish(queue, id, 'x')
    fields, leased = readRecord(job)
    return { i, fields, leased, 'cancelled' }
  end
end
return false
