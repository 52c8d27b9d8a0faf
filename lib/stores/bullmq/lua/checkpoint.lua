--[[
Stores what a step of a running job has done, renews its lease and publishes the change, if the lease still belongs to
the caller. It may be sent again. What other steps have stored is neither read nor written.

KEYS       1 prefix of the queue
ARGV       1 id
           2 token of the claim
           3 duration of a lease in milliseconds
           4 '1': the job has something to undo; '0': it has not; '' as before
           5 since when it undoes its steps, in milliseconds; 'none': it does not; '' as before. Then, behind a space and
             in the same way, since when it has steps that could not be undone
           6 '1': results and signals are deleted first; or ''
           7 progress as JSON, or ''
           8… a field and its text, alternately
Returns    1 stored; 2 stored, and somebody asked to cancel the job; 0 when the lease belongs to somebody else or has
           run out, or the job is gone
Called by  RedisSteps.checkpoint (steps.ts)
]]
local call = redis.call
-- @include parts/values
-- @include parts/publish
local queue, id = KEYS[1], ARGV[1]
local job = queue .. id
if call('GET', job .. ':lock') ~= ARGV[2] then return 0 end
local seen = call('HMGET', job, 'name', 'defa')
if not seen[1] then return 0 end
call('SET', job .. ':lock', ARGV[2], 'PX', ARGV[3])
call('SREM', queue .. 'stalled', id)
writeCounted(queue, id, ARGV[4], ARGV[5], ARGV[6], ARGV[7], 8)
count(job)
publish(queue, id, 'i')
return seen[2] and 2 or 1
