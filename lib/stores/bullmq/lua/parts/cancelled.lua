--[[
Ends a job as cancelled, once it stands in none of BullMQ's lists of waiting or active jobs any more.

Needs    `call`
Defines  `endCancelled`, and what parts/keep and parts/steps define
]]
-- @include parts/keep
-- @include parts/steps

-- `reason`: notes as encodeNotes in envelope.ts writes them. The limits of the retention follow `now`.
local function endCancelled (queue, id, reason, now, ...)
  local job = queue .. id
  -- The reason of the request to cancel is kept, rather than the reason that the attempt gives.
  local seen = call('HMGET', job, 'defa', 'und')
  local asked = seen[1]
  if asked and string.sub(asked, 1, 4) == '{"m"' then reason = '{"x":1,' .. string.sub(asked, 2) end
  call('HSET', job, 'failedReason', reason, 'finishedOn', now, 'delay', 0)
  call('HDEL', job, 'defa', 'data')
  if seen[2] then
    dropValues(job)
    endSteps(queue, id)
  end
  call('ZADD', queue .. 'failed', now, id)
  call('ZADD', queue .. 'fae:cancelled', now, id)
  call('ZREM', queue .. 'fae:cancelling', id)
  dropInput(queue, id)
  keep(queue, id, 'failed', tonumber(now), 0, ownerIn(call('HGET', job, 'opts')), ...)
end
