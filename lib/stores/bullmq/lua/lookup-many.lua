--[[
Finds several jobs of one queue.

KEYS       1 prefix of the queue
ARGV       1… ids
Returns    for each id what lookup.lua returns behind the number of the queue: { fields, leased, facts or nil }; or
           false for a job that is not there or that cannot be read
Called by  Finder.findMany (finder.ts)
]]
local call = redis.call
-- @include parts/record
-- @include parts/step-texts
local found = {}
for i = 1, #ARGV do
  local job = KEYS[1] .. ARGV[i]
  local fine, fields, leased = pcall(readRecord, job)
  found[i] = fine and fields and { fields, leased, fields[AT_UNDO] and stepTexts(job, { ['s:'] = true }) or nil } or false
end
return found
