--[[
A submission on trial: adds a job to a queue that has no name, and deletes it again in the same step, so that no other
process sees it. Whatever a submission would be refused for, this is refused for.

KEYS       as for add
ARGV       as for add, one job, whose idempotency key is 'probe'
Constants  as for add
Inserted   as for add
Returns    as add
Called by  Probe (probe.ts)
]]
local answers = (function ()
-- @include add
end)()
for _, key in ipairs(KEYS) do redis.call('DEL', key) end
redis.call('DEL', ARGV[1] .. ARGV[2], ARGV[1] .. 'fae:key:probe')
return answers
