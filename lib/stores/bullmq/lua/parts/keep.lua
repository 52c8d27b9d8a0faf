--[[
Keeps a job that has ended, and forgets older ones where a limit of the retention is exceeded.

Needs    `call`
Defines  `keep`, and what parts/inputs, parts/forget and parts/limits define
]]
-- @include parts/inputs
-- @include parts/forget
-- @include parts/limits
-- To be called after a job ended. `set` is BullMQ's set for its ending ('completed' or 'failed'), `now` the time by the
-- clock of the process that ended it. The limits come in the order of limitsOf in keeping.ts.
local function keep (queue, id, set, now, bytes, owner, maxCount, completedMs, failedMs, maxPerOwner, maxBytes)
  if bytes >= LARGE_BYTES then keepBytes(queue, id, bytes, tonumber(maxBytes)) end
  if owner then keepOwner(queue, id, owner, maxPerOwner, math.max(completedMs, failedMs)) end
  local key = queue .. set
  forgetPast(queue, key, now, set == 'completed' and completedMs or failedMs)
  local over = call('ZREVRANGE', key, maxCount, maxCount + STEPS - 1)
  if over[1] then forgetAll(queue, key, over) end
end
