--[[
Gives a lock back, if it belongs to the holder.

KEYS       1 lock
ARGV       1 holder
Returns    1, or 0 when another one holds it or nobody does
Called by  RedisSharedState.unlock (shared.ts)
]]
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
