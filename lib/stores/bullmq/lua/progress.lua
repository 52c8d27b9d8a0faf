--[[
Stores the progress of a running job and publishes it, if the lease still belongs to the caller.

KEYS       1 prefix of the queue
ARGV       1 id
           2 token of the claim
           3 progress as JSON
           4 channel
           5 message to publish on it
Returns    1, or 0 when the lease belongs to somebody else or has run out
Called by  RedisStore.progress (index.ts)
]]
local job = KEYS[1] .. ARGV[1]
if redis.call('GET', job .. ':lock') ~= ARGV[2] then return 0 end
redis.call('HSET', job, 'progress', ARGV[3])
redis.call('PUBLISH', ARGV[4], ARGV[5])
return 1
