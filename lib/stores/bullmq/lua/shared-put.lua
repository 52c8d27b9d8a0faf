--[[
Puts a text into a group that all processes read.

KEYS       1 texts of the group
           2 when they end
ARGV       1 key
           2 text
           3 time to live in milliseconds
Returns    1
Called by  RedisSharedState.put (shared.ts)
]]
local call = redis.call
-- @include parts/shared
expire()
call('HSET', KEYS[1], ARGV[1], ARGV[2])
call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
local last = call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
for i = 1, 2 do call('PEXPIRE', KEYS[i], last - now) end
return 1
