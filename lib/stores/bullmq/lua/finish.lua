--[[
Ends a job, completed or failed, by BullMQ's own script, and keeps its result: one command and one atomic step instead of
two. BullMQ's script hands out the next job in the same step.

KEYS       those of BullMQ's script; 12 is the key of the job
ARGV       1 to 9 those of BullMQ's script: 1 id, 2 now, 5 'completed' or 'failed', 7 prefix of the queue
           10 '1' if this store added the job; '' if another program did
           11 bytes of its large input, or ''
           12 owner, or ''
           13 time to live of the result in milliseconds, if there is a result
           14 the result
Constants  maxCount, completedMs, failedMs, maxPerOwner, maxBytes: limits of the retention
Inserted   BullMQ's script moveToFinished
Returns    what BullMQ's script returns
Called by  Settler.finish (settler.ts)
]]
local call = redis.call
-- @include parts/keep
local function afterEnd (queue, id, job, set, now, added, submitted, owner, resultMs, result)
  local bytes = tonumber(submitted) or 0
  local there
  if set == 'completed' then
    bytes = 0
    -- Nothing runs it again, so its input can go. Data that another program wrote with BullMQ is left alone.
    there = added == '1' and call('HDEL', job, 'data') == 1 or call('EXISTS', job) == 1
    if there and result then
      bytes = #result
      -- Kept as the log of the job, which BullMQ deletes together with the job.
      call('DEL', job .. ':logs')
      call('RPUSH', job .. ':logs', result)
      call('PEXPIRE', job .. ':logs', resultMs)
    end
  else
    there = call('EXISTS', job) == 1
  end
  if submitted ~= '' then dropInput(queue, id) end
  -- The options of the job may have made BullMQ remove it.
  if there then
    keep(queue, id, set, now, bytes, owner ~= '' and owner or nil, maxCount, completedMs, failedMs, maxPerOwner, maxBytes)
  end
end

local function finish (KEYS, ARGV)
-- @insert bullmq
end
local answer = finish(KEYS, ARGV)
if type(answer) == 'number' and answer < 0 then return answer end
afterEnd(ARGV[7], ARGV[1], KEYS[12], ARGV[5], tonumber(ARGV[2]), unpack(ARGV, 10))
return answer
