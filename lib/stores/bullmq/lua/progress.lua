--[[
Stores the progress of a running job and publishes it, if the lease still belongs to the caller.

KEYS       1 prefix of the queue
ARGV       1 id
           2 token of the claim
           3 progress as JSON
Returns    1, or 0 when the lease belongs to somebody else or has run out
Called by  RedisStore.progress (index.ts)
]]
local call = redis.call
-- @include parts/publish
local job = KEYS[1] .. ARGV[1]
if call('GET', job .. ':lock') ~= ARGV[2] then return 0 end
call('HSET', job, 'progress', ARGV[3])
local version = string.format('%d', 3 * (tonumber(call('HGET', job, 'ats')) or 0) + count(job))
publish(KEYS[1], ARGV[1], 'p' .. version .. ' ' .. ARGV[3])
return 1
