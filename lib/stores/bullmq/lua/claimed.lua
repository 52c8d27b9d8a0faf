--[[
Notes that a job which was suspended until a signal has been claimed, because its time had come: it waits no more.

KEYS       1 prefix of the queue
ARGV       1 id
           2 token of the claim
Returns    1, or 0 when the lease belongs to somebody else
Called by  BullConsumer, for a claimed job that still bears the signal (consumer.ts)
]]
local call = redis.call
-- @include parts/steps
if call('GET', KEYS[1] .. ARGV[1] .. ':lock') ~= ARGV[2] then return 0 end
endWait(KEYS[1], ARGV[1])
return 1
