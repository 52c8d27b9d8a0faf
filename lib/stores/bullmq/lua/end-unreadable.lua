--[[
Fails a job that no worker can read. Fields that cannot be read are dropped, the others are kept.

A job whose key holds something else than a hash is ended even if it stands in no list: BullMQ's script for lost leases
takes it out of the list before it stumbles.

KEYS       1 prefix of the queue
ARGV       1 id
           2 notes: why it failed
           3 now, in milliseconds
           4 'gone': only if the key of the job holds something else than a hash; 'always'
           5… limits of the retention
Returns    1, or 0 when there is nothing to end: another process was faster
Called by  Repairs (unreadable.ts), and the consumer that claimed such a job (consumer.ts)
]]
local call = redis.call
-- @include parts/readable
-- @include parts/keep
-- @include parts/publish
local queue, id, now = KEYS[1], ARGV[1], ARGV[3]
local job = queue .. id
local fields = readCounters(job)
local gone = fields.err ~= nil
local bytes = tonumber(call('ZSCORE', queue .. 'fae:inputs', id)) or 0
if ARGV[4] == 'gone' and not gone then return 0 end
local stood = call('LREM', queue .. 'active', 0, id) + call('LREM', queue .. 'wait', 0, id)
for _, key in ipairs({ 'prioritized', 'delayed', 'completed' }) do stood = stood + call('ZREM', queue .. key, id) end
if gone then
  stood = stood + call('ZREM', queue .. 'failed', id)
  call('DEL', job)
  fields = {}
end
if stood == 0 and not gone then return 0 end
dropInput(queue, id)
call('DEL', job .. ':lock')
call('SREM', queue .. 'stalled', id)
for _, set in ipairs({ 'fae:cancelling', 'fae:compensating', 'fae:awaiting' }) do call('ZREM', queue .. set, id) end
-- A saga had done something that is not undone now.
if not gone and call('HGET', job, 'und') == '1' then call('ZADD', queue .. 'fae:not-undone', now, id) end
-- The data stays away: a redrive is to fail the job again, and not to run it on nothing.
if not fields[1] then call('HSET', job, 'name', 'unreadable') end
if not fields[2] or not whole(fields[2]) then call('HSET', job, 'timestamp', now) end
if not fields[3] or not isTable(fields[3]) then call('HSET', job, 'opts', '{}') end
for place, field in ipairs({ 'ats', 'atm', 'stc', 'priority' }) do
  if not whole(fields[place + 3]) then call('HDEL', job, field) end
end
call('HDEL', job, 'defa', 'returnvalue')
call('HSET', job, 'failedReason', ARGV[2], 'finishedOn', now, 'delay', 0)
call('ZADD', queue .. 'failed', now, id)
keep(queue, id, 'failed', tonumber(now), gone and 0 or bytes, ownerIn(call('HGET', job, 'opts')), unpack(ARGV, 5))
publish(queue, id, 'f')
return 1
