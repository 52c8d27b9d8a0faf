--[[
Finds a job in any of several queues.

KEYS       prefixes of the queues in which the job may be
ARGV       1 id
Returns    { number of the queue, fields, leased (1 or 0) }, or nil
Called by  RedisStore.get and every other method that reads a job first (index.ts)
]]
local call = redis.call
-- @include parts/record
for i = 1, #KEYS do
  local fields, leased = readRecord(KEYS[i] .. ARGV[1])
  if fields then return { i, fields, leased } end
end
return false
