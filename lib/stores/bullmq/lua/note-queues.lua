--[[
Adds names to the set of all queues. Whatever else stands under that name is replaced: no other program may use it.

KEYS       1 the set of queues
ARGV       names of queues
Returns    { how many names the set did not have, 1 if something else was replaced or 0 }
Called by  QueueBook (queues.ts)
]]
local added = redis.pcall('SADD', KEYS[1], unpack(ARGV))
if type(added) ~= 'table' then return { added, 0 } end
if not string.find(added.err, 'WRONGTYPE', 1, true) then return added end
redis.call('DEL', KEYS[1])
return { redis.call('SADD', KEYS[1], unpack(ARGV)), 1 }
