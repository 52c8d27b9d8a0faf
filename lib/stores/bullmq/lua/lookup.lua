--[[
Finds a job in any of several queues.

KEYS       prefixes of the queues in which the job may be
ARGV       1 id
Returns    { number of the queue, fields, leased (1 or 0), { facts of its steps: each field followed by its text } or
           nil }, or nil
Called by  RedisStore.get and every other method that reads a job first (index.ts)
]]
local call = redis.call
-- @include parts/record
-- @include parts/step-texts
for i = 1, #KEYS do
  local fields, leased = readRecord(KEYS[i] .. ARGV[1])
  if fields then
    local facts = fields[AT_UNDO] and stepTexts(KEYS[i] .. ARGV[1], { ['s:'] = true })
    return { i, fields, leased, facts or nil }
  end
end
return false
