--[[
Ends a claimed job as cancelled, if the lease still belongs to the caller.

KEYS       1 prefix of the queue
ARGV       1 id
           2 token of the claim
           3 notes of the cancel
           4 now, in milliseconds
           5 attempts to count (0 or 1)
           6 'asked': only if a cancel was requested, and the job has nothing to undo; 'always'
           7… limits of the retention
Returns    1 ended; 0 no cancel was requested, or it has something to undo; below 0, as BullMQ answers: -2 no lease,
           -6 the lease of another claim, -3 the job is not active
Called by  Settler.endCancelled (settler.ts)
]]
local call = redis.call
-- @include parts/cancelled
-- @include parts/publish
local queue, id = KEYS[1], ARGV[1]
local job = queue .. id
local holder = call('GET', job .. ':lock')
if holder ~= ARGV[2] then return holder and -6 or -2 end
if ARGV[6] == 'asked' then
  local seen = call('HMGET', job, 'defa', 'und')
  -- One that has something to undo ends only when its attempt says so.
  if not seen[1] or seen[2] == '1' then return 0 end
end
if call('LREM', queue .. 'active', -1, id) < 1 then return -3 end
call('DEL', job .. ':lock')
call('SREM', queue .. 'stalled', id)
endCancelled(queue, id, ARGV[3], ARGV[4], unpack(ARGV, 7))
if ARGV[5] == '1' then call('HINCRBY', job, 'atm', 1) end
publish(queue, id, 'x')
return 1
