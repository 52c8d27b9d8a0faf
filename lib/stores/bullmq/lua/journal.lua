--[[
Reads everything that the steps of a job have stored.

KEYS       prefixes of the queues in which the job may be
ARGV       1 id
Returns    { number of the queue, fields, leased (1 or 0), { fields of its steps, each followed by its text } }, or nil
Called by  RedisSteps.journal (steps.ts)
]]
local call = redis.call
-- @include parts/record
-- @include parts/step-texts
for i = 1, #KEYS do
  local job = KEYS[i] .. ARGV[1]
  local fields, leased = readRecord(job)
  if fields then
    local texts = fields[AT_UNDO] and stepTexts(job, { ['s:'] = true, ['r:'] = true, ['g:'] = true }) or {}
    return { i, fields, leased, texts }
  end
end
return false
