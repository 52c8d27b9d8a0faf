--[[
Puts a job back among those that can be claimed, at their end, and wakes a worker.

Needs    `call`
Defines  `requeue`
]]
-- BullMQ orders prioritized jobs by the priority times this, plus a count: PRIORITY_SCORE in layout.ts.
local PRIORITY_SCORE = 4294967296

local function requeue (queue, id, priority)
  if priority > 0 then
    local turn = call('INCR', queue .. 'pc')
    call('ZADD', queue .. 'prioritized', priority * PRIORITY_SCORE + turn % PRIORITY_SCORE, id)
  else
    call('LPUSH', queue .. 'wait', id)
  end
  if call('HEXISTS', queue .. 'meta', 'paused') == 0 then call('ZADD', queue .. 'marker', 0, '0') end
end
