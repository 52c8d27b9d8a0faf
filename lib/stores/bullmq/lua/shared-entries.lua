--[[
Reads the texts of a group whose time is not over.

KEYS       1 texts of the group
           2 when they end
Returns    { key, text, key, text, … }
Called by  RedisSharedState.entries (shared.ts)
]]
local call = redis.call
-- @include parts/shared
expire()
return call('HGETALL', KEYS[1])
