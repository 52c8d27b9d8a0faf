--[[
Reads the clock of the server that has the keys of this prefix. The nodes of a cluster have a clock each.

KEYS       1 any key of the prefix; it is not touched
Returns    { seconds, microseconds }
Called by  ServerClock (server-clock.ts)
]]
return redis.call('TIME')
