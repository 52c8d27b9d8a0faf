--[[
Suspends a running job until a time or a signal, if the lease still belongs to the caller. Stores a checkpoint in the
same step. When there is nothing to wait for, because the signal is there or a cancel was requested, the job is
claimable at once.

KEYS       1 prefix of the queue
ARGV       1 id
           2 token of the claim
           3 now, in milliseconds
           4 how long it waits, in milliseconds
           5 notes for a job that waits
           6 notes for a job that is claimable at once
           7 the signal that ends the wait, or ''
           8 '1': the attempt knows of the request to cancel, if there is one; or ''
           9 '1': a checkpoint follows; or ''
           10 to 13 as 4 to 7 of checkpoint.lua
           14… a field and its text, alternately
Returns    1 it waits; 2 it is claimable; below 0, as BullMQ answers: -2 no lease, -6 the lease of another claim, -3 the
           job is not active
Called by  Suspending.send (suspend.ts)
]]
local call = redis.call
-- @include parts/values
-- @include parts/requeue
-- BullMQ orders delayed jobs by the time times this, plus a count: DELAYED_SCORE in layout.ts.
local DELAYED_SCORE = 4096
local queue, id = KEYS[1], ARGV[1]
local job = queue .. id
local holder = call('GET', job .. ':lock')
if holder ~= ARGV[2] then return holder and -6 or -2 end
if call('LREM', queue .. 'active', -1, id) < 1 then return -3 end
call('DEL', job .. ':lock')
call('SREM', queue .. 'stalled', id)
if ARGV[9] == '1' then writeCounted(queue, id, ARGV[10], ARGV[11], ARGV[12], ARGV[13], 14) end

local delay, signal = tonumber(ARGV[4]), ARGV[7]
local seen = call('HMGET', job, 'defa', 'priority', 'g:' .. signal)
if delay <= 0 or (signal ~= '' and seen[3]) or (seen[1] and ARGV[8] ~= '1') then
  endWait(queue, id)
  call('HSET', job, 'failedReason', ARGV[6], 'delay', 0)
  requeue(queue, id, tonumber(seen[2]) or 0)
  return 2
end

call('HSET', job, 'failedReason', ARGV[5], 'delay', delay)
if signal == '' then
  endWait(queue, id)
else
  call('HSET', job, 'aws', signal)
  -- A signal with a colon is not one of a saga: the deliveries of webhooks wait for it.
  if string.sub(signal, 1, 1) ~= ':' then call('ZADD', queue .. 'fae:awaiting', ARGV[3], id) end
end
-- As BullMQ's scripts do: behind those that are due in the same millisecond.
local due = tonumber(ARGV[3]) + delay
local score, last = due * DELAYED_SCORE, (due + 1) * DELAYED_SCORE - 1
local before = tonumber(call('ZREVRANGEBYSCORE', queue .. 'delayed', last, score, 'WITHSCORES', 'LIMIT', 0, 1)[2])
if before then score = math.min(before + 1, last) end
call('ZADD', queue .. 'delayed', score, id)
-- A worker that waits for the next delayed job learns that this one may be due earlier.
local first = tonumber(call('ZRANGE', queue .. 'delayed', 0, 0, 'WITHSCORES')[2])
call('ZADD', queue .. 'marker', first / DELAYED_SCORE, '1')
return 1
