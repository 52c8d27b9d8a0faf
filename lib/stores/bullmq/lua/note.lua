--[[
Writes the notes of a running job, if the lease still belongs to the caller.

KEYS       1 prefix of the queue
ARGV       1 id
           2 token of the claim
           3 notes
Returns    1, or 0 when the lease belongs to somebody else or has run out
Called by  Settler, before it gives a job back to its queue (settler.ts)
]]
local job = KEYS[1] .. ARGV[1]
if redis.call('GET', job .. ':lock') ~= ARGV[2] then return 0 end
redis.call('HSET', job, 'failedReason', ARGV[3])
return 1
