--[[
Ends the wait of a scheduled job.

Needs    `call`
Defines  `wake`, and what parts/steps and parts/requeue define
]]
-- @include parts/steps
-- @include parts/requeue
-- Returns 1, or 0 when the job is not scheduled.
local function wake (queue, id, now)
  if call('ZREM', queue .. 'delayed', id) == 0 then return 0 end
  endWait(queue, id)
  local job = queue .. id
  local seen = call('HMGET', job, 'failedReason', 'priority')
  -- `r` of the notes, see envelope.ts: since when it can be claimed. No text in them can look like it, because its
  -- quotes have backslashes.
  if seen[1] then call('HSET', job, 'failedReason', (string.gsub(seen[1], '"r":[%d.]+', '"r":' .. now, 1))) end
  call('HSET', job, 'delay', 0)
  requeue(queue, id, tonumber(seen[2]) or 0)
  return 1
end
