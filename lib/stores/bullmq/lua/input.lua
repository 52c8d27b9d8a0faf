--[[
Reads what was submitted. No other script reads it: it may be a thousand times as large as the rest of the job.

KEYS       prefixes of the queues in which the job may be
ARGV       1 id
Returns    { number of the queue, fields, leased (1 or 0), data as JSON }, or nil
Called by  RedisStore.input (index.ts)
]]
local call = redis.call
-- @include parts/record
for i = 1, #KEYS do
  local fields, leased = readRecord(KEYS[i] .. ARGV[1])
  if fields then return { i, fields, leased, call('HGET', KEYS[i] .. ARGV[1], 'data') } end
end
return false
