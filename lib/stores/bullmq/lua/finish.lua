--[[
Ends a job, completed or failed, by BullMQ's own script, and keeps its result: one command and one atomic step instead of
two. BullMQ's script hands out the next job in the same step.

KEYS       those of BullMQ's script; 12 is the key of the job
ARGV       1 to 9 those of BullMQ's script: 1 id, 2 now, 5 'completed' or 'failed', 7 prefix of the queue
           10 '1' if this store added the job; '' if another program did
           11 bytes of its large input, or ''
           12 owner, or ''
           13 time to live of the result in milliseconds; absent or '' when there is no result
           14 the result
           15 progress as JSON, if a checkpoint follows; or ''
           16… of the checkpoint: a field and its text, alternately
Constants  completedMs, failedMs, maxPerOwner, maxBytes: limits of the retention
           firstOver, lastOver: places of the jobs that exceed maxCount, as texts: a number would be printed for each call
           sharded: see parts/publish
Inserted   BullMQ's script moveToFinished
Returns    what BullMQ's script returns
Called by  Settler.finish (settler.ts)
]]
local call = redis.call
-- @include parts/forget

-- What few endings need. A script makes its functions each time that it runs, which costs as much as a command does:
-- these are made when they are needed.
local function keepMore (queue, id, key, now, keepMs, there, bytes, submitted, owner)
-- @include parts/inputs
-- @include parts/limits
  if submitted ~= '' then dropInput(queue, id) end
  if not there then return end
  if bytes >= LARGE_BYTES then keepBytes(queue, id, bytes, maxBytes) end
  if owner ~= '' then keepOwner(queue, id, owner, maxPerOwner, math.max(completedMs, failedMs)) end
  forgetPast(queue, key, now, keepMs)
end

-- The last checkpoint of a job with steps. Returns the bytes of what they leave behind.
local function overSteps (queue, id, job, set, progress)
-- @include parts/step-texts
  endSteps(queue, id)
  if progress then writeSteps(queue, id, '', '', '', progress, 16) end
  local bytes = 0
  if set == 'completed' then
    dropValues(job)
    call('HSET', job, 'und', '0')
  else
    local texts = stepTexts(job, { ['r:'] = true, ['g:'] = true })
    for i = 2, #texts, 2 do bytes = bytes + #texts[i] end
  end
  return bytes
end

-- Does what `keep` of parts/keep does.
local function afterEnd (queue, id, job, set, now, added, submitted, owner, resultMs, result, progress)
  local bytes = tonumber(submitted) or 0
  local there, stepped
  if set == 'completed' and added == '1' then
    -- Nothing runs it again, so its input can go. `und` goes with it: the same command says whether it has steps.
    local dropped = call('HDEL', job, 'data', 'und')
    there, stepped = dropped > 0 or call('EXISTS', job) == 1, dropped > 1
  else
    -- Data that another program wrote with BullMQ is left alone.
    local seen = call('HMGET', job, 'finishedOn', 'und')
    there, stepped = seen[1], seen[2]
  end
  if set == 'completed' then
    bytes = 0
    if there and resultMs and resultMs ~= '' then
      bytes = #result
      -- Kept in the log of the job, which BullMQ deletes together with the job, and in front of what another program may
      -- have written there.
      call('LPUSH', job .. ':logs', result)
      call('PEXPIRE', job .. ':logs', resultMs)
    end
  end
  if there and (stepped or progress) then
    bytes = bytes + overSteps(queue, id, job, set, progress)
    submitted = bytes
  end
  local key = queue .. set
  -- Readers do not see a job whose time is over, and the sweep deletes it. The endings help, because a sweep alone could not
  -- keep up with a busy queue: each sixteenth of them, by the last digit of the id, which is random, deletes a hundred.
  if submitted ~= '' or owner ~= '' or bytes >= LARGE_BYTES or string.sub(id, -1) == '0' then
    keepMore(queue, id, key, now, set == 'completed' and completedMs or failedMs, there, bytes, submitted, owner)
  end
  -- The options of the job may have made BullMQ remove it.
  if not there then return end
  local over = call('ZREVRANGE', key, firstOver, lastOver)
  if over[1] then forgetAll(queue, key, over) end
end

local function finish (KEYS, ARGV)
-- @insert bullmq
end
local answer = finish(KEYS, ARGV)
if type(answer) == 'number' and answer < 0 then return answer end
afterEnd(ARGV[7], ARGV[1], KEYS[12], ARGV[5], tonumber(ARGV[2]), unpack(ARGV, 10, 15))
-- What `publish` of parts/publish does, without making a function for it each time.
local channel, message = ARGV[7] .. 'changed:' .. ARGV[1], ARGV[5] == 'completed' and 'c' or 'f'
local one = sharded and (redis.REDIS_VERSION_NUM or 0) >= 0x70000 and redis.pcall('SPUBLISH', channel, message)
if type(one) ~= 'number' then call('PUBLISH', channel, message) end
return answer
